//! The ticket, by the SQL pack alone.

use crate::support::{Walled, one, shared};

#[tokio::test(flavor = "multi_thread")]
async fn pack_installs_twice() {
    let Some(shared) = shared() else { return };
    let mut walled = Walled::new(shared).await;
    let options = partywall_postgres::InitOptions::new(walled.roles.clone())
        .slots(9)
        .table("public.notes".parse().unwrap());
    crate::support::run(&mut walled.admin, &partywall_postgres::migration(&options)).await;
    assert_eq!(
        one::<i64>(
            &mut walled.superuser,
            "SELECT count(*) FROM pg_policy WHERE polrelid = 'notes'::regclass"
        )
        .await,
        2
    );
}
