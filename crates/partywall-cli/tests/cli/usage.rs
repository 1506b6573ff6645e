//! What the binary says about itself, and to those who misspell it.

use crate::harness::Folder;

#[test]
fn help_goes_to_stdout_and_names_every_command() {
    let ran = Folder::new().run(&["--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for word in [
        "up",
        "serve",
        "check",
        "token",
        "saml",
        "postgres",
        "Examples:",
        "Exit codes:",
        "NO_COLOR",
    ] {
        assert!(ran.out.contains(word), "{word} is not in the help");
    }
    for command in [
        &["up"][..],
        &["serve"],
        &["check"],
        &["token"],
        &["token", "verify"],
        &["saml"],
        &["saml", "verify"],
        &["postgres"],
        &["postgres", "init"],
        &["postgres", "lint"],
        &["tenant"],
        &["user", "invite"],
        &["client", "create"],
        &["key"],
        &["operator-key", "create"],
    ] {
        let ran = Folder::new().run(&[command, &["--help"]].concat());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{command:?}");
        let longest = ran.out.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(120), "the help of {command:?} has lines of {longest:?}");
    }
    let version = Folder::new().run(&["--version"]);
    assert_eq!(version.out, format!("partywall {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_named_and_ends_with_2() {
    for (args, said) in [
        (&["chek"][..], "a similar subcommand exists: 'check'"),
        (&["check", "--confg", "x"], "a similar argument exists: '--config'"),
        (&["token", "verify", "--jwks", "x"], "--issuer <URL>"),
        (&["token", "verify", "--issuer", "x"], "--jwks <FILE>"),
        (&["token", "verify", "--jwks", "x", "--config", "y"], "cannot be used with"),
        (&["token", "verify", "--profile", "x"], "unknown variant `x`"),
        (&["postgres", "init", "--slots", "0"], "0 is not in 1..=1000"),
        (&["postgres", "lint"], "<postgres://…>"),
        (&["postgres", "lint", "x", "--ignore", "r="], "RULE[@PLACE]=REASON"),
        (&[], "Usage: partywall <COMMAND>"),
    ] {
        let ran = Folder::new().run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.err.contains(said), "{said:?} is not in {:?}", ran.err);
    }
}
