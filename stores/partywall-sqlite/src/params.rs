//! Values on their way into a statement.

use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};

/// What a statement's `?1`, `?2`, … stand for: a tuple of values, an array, a slice, or `()`.
///
/// Values are copied on the way in, so borrowed ones will do: `(&id, 12, None::<&str>)`.
pub trait Params {
    /// The values, in order.
    ///
    /// # Errors
    ///
    /// When a value has no form in SQLite.
    fn into_values(self) -> rusqlite::Result<Vec<Value>>;
}

impl Params for () {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        Ok(Vec::new())
    }
}

impl<T: ToSql, const N: usize> Params for [T; N] {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        self.as_slice().into_values()
    }
}

impl<T: ToSql> Params for &[T] {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        self.iter().map(|value| owned(value)).collect()
    }
}

impl Params for Vec<Value> {
    fn into_values(self) -> rusqlite::Result<Vec<Value>> {
        Ok(self)
    }
}

macro_rules! tuple {
    ($($name:ident)+) => {
        impl<$($name: ToSql),+> Params for ($($name,)+) {
            fn into_values(self) -> rusqlite::Result<Vec<Value>> {
                #[expect(non_snake_case, reason = "a value is named as its type")]
                let ($($name,)+) = self;
                Ok(vec![$(owned(&$name)?),+])
            }
        }
    };
}
tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
tuple!(A B C D E F G H I);
tuple!(A B C D E F G H I J);
tuple!(A B C D E F G H I J K);
tuple!(A B C D E F G H I J K L);

fn owned(value: &dyn ToSql) -> rusqlite::Result<Value> {
    let unusable = |why| rusqlite::Error::ToSqlConversionFailure(why);
    match value.to_sql()? {
        ToSqlOutput::Owned(value) => Ok(value),
        ToSqlOutput::Borrowed(ValueRef::Text(text)) => {
            let text = str::from_utf8(text).map_err(|error| unusable(error.into()))?;
            Ok(Value::Text(text.to_owned()))
        }
        ToSqlOutput::Borrowed(value) => Ok(value.into()),
        _ => Err(unusable("a value without an owned form".into())),
    }
}
