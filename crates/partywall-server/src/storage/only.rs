//! The one row that a key leaves room for.

use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, FromQueryResult, Select, SelectThree, SelectTwo, Selector,
    SelectorTrait, Topology,
};

/// Reads the only row there can be.
///
/// `one` would put `LIMIT ?` into the statement, and SQLite, from 3.47 on, plans such a statement
/// anew each time the limit is bound, which costs more than running it. Where a key leaves room for
/// one row a limit says nothing.
pub(crate) trait Only {
    type Row: Send;

    /// The row, if it is there.
    fn only(
        self,
        db: &impl ConnectionTrait,
    ) -> impl Future<Output = Result<Option<Self::Row>, DbErr>> + Send;
}

impl<E: EntityTrait> Only for Select<E> {
    type Row = E::Model;

    async fn only(self, db: &impl ConnectionTrait) -> Result<Option<Self::Row>, DbErr> {
        Ok(self.all(db).await?.pop())
    }
}

impl<E, F> Only for SelectTwo<E, F>
where
    E: EntityTrait<Model: FromQueryResult>,
    F: EntityTrait<Model: FromQueryResult>,
{
    type Row = (E::Model, Option<F::Model>);

    async fn only(self, db: &impl ConnectionTrait) -> Result<Option<Self::Row>, DbErr> {
        Ok(self.all(db).await?.pop())
    }
}

impl<E, F, G, T> Only for SelectThree<E, F, G, T>
where
    E: EntityTrait<Model: FromQueryResult>,
    F: EntityTrait<Model: FromQueryResult>,
    G: EntityTrait<Model: FromQueryResult>,
    T: Topology + Send,
{
    type Row = (E::Model, Option<F::Model>, Option<G::Model>);

    async fn only(self, db: &impl ConnectionTrait) -> Result<Option<Self::Row>, DbErr> {
        Ok(self.all(db).await?.pop())
    }
}

impl<S: SelectorTrait<Item: Send> + Send + Sync> Only for Selector<S> {
    type Row = S::Item;

    async fn only(self, db: &impl ConnectionTrait) -> Result<Option<Self::Row>, DbErr> {
        Ok(self.all(db).await?.pop())
    }
}
