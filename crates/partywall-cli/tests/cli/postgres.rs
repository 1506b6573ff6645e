//! `partywall postgres init`.

use std::fs;

use crate::harness::Folder;

#[test]
fn init_prints_the_migration_for_the_tables_named() {
    let args = [
        "postgres",
        "init",
        "--schema",
        "billing",
        "--table",
        "invoices",
        "--table",
        "shop.orders:org_id",
        "--slots",
        "2",
        "--prefix",
        "shop",
    ];
    let ran = Folder::new().run(&args);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for part in [
        r#"partywall.protect('"billing"."invoices"'::regclass, 'tenant_id')"#,
        r#"partywall.protect('"shop"."orders"'::regclass, 'org_id')"#,
        "'shop_slot_1', 'shop_slot_2'",
    ] {
        assert!(ran.out.contains(part), "{part} is not in the migration");
    }
    assert!(!ran.out.contains("shop_slot_3"));
}

#[test]
fn init_writes_a_new_file_and_never_over_one() {
    let folder = Folder::new();
    let args = ["postgres", "init", "--table", "invoices", "--output", "wall.sql"];
    assert_eq!(folder.run(&args).code, Some(0));
    let written = fs::read_to_string(folder.path("wall.sql")).unwrap();
    assert_eq!(written, folder.run(&args[..4]).out);

    folder.write("wall.sql", "mine");
    let ran = folder.run(&args);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("wall.sql: File exists"), "{}", ran.err);
    assert_eq!(fs::read_to_string(folder.path("wall.sql")).unwrap(), "mine");
}

#[test]
fn init_refuses_names_that_are_none() {
    for (args, said) in [
        (["--table", ""], "names no table"),
        (["--table", "a.b.c"], "names no table"),
        (["--table", "in\"voices"], "names no table"),
        (["--prefix", "pg_x"], "no prefix for role names"),
        (["--schema", "a\"b"], "names no table"),
    ] {
        let ran = Folder::new().run(&[&["postgres", "init", "--table", "t"][..], &args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.err.contains(said), "{said:?} is not in {:?}", ran.err);
    }
}
