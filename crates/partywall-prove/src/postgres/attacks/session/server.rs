//! Reaching past the tables: the server's files, programs and passwords.

use super::{Scene, after_forgery, as_power};
use crate::{
    Attack, Layer, Log, Observation, Weight,
    postgres::{
        attacks::STORE_CONTROLS,
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static FILES: Attack = Attack {
    id: "postgres.server-files",
    layer: Layer::Store,
    title: "read the server's files",
    about: "pg_read_file, pg_ls_dir, lo_import, COPY from a file: every tenant's rows are in them, \
            and no policy.",
    weight: Weight::Read,
    fix: "revoke pg_read_server_files, pg_write_server_files and EXECUTE on the file functions from \
          the application's role and from PUBLIC",
    references: &["T-05", "CWE-552"],
    supports: STORE_CONTROLS,
};

pub(crate) static PROGRAMS: Attack = Attack {
    id: "postgres.server-programs",
    layer: Layer::Store,
    title: "run programs on the server",
    about: "COPY … TO PROGRAM, an untrusted language, an extension that reaches out: code on the \
            server is above every wall in it.",
    weight: Weight::Identity,
    fix: "revoke pg_execute_server_program and CREATE on the database from the application's role; \
          drop untrusted languages that are not needed",
    references: &["T-05", "CWE-78"],
    supports: STORE_CONTROLS,
};

pub(crate) static SECRETS: Attack = Attack {
    id: "postgres.server-secrets",
    layer: Layer::Store,
    title: "read what the server keeps of its roles",
    about: "Password hashes, the rules of pg_hba.conf, raw column statistics of all tenants, the \
            passwords of foreign servers.",
    weight: Weight::Read,
    fix: "revoke what was granted on pg_authid, pg_shadow, pg_statistic and pg_user_mapping",
    references: &["T-05", "CWE-522"],
    supports: STORE_CONTROLS,
};

/// Each asks the catalogue in its own place; none of them leaves anything behind.
const TRIED: &[(&Attack, &str)] = &[
    (&FILES, "SELECT pg_catalog.pg_read_file('PG_VERSION')"),
    (&FILES, "SELECT pg_catalog.pg_read_binary_file('PG_VERSION')"),
    (&FILES, "SELECT 1 FROM pg_catalog.pg_ls_dir('.') LIMIT 1"),
    (&FILES, "SELECT 1 FROM pg_catalog.pg_stat_file('PG_VERSION')"),
    (&FILES, "SELECT pg_catalog.lo_import('/etc/hostname')"),
    (&PROGRAMS, "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'"),
    (&PROGRAMS, "CREATE LANGUAGE plpython3u"),
    (&PROGRAMS, "CREATE FUNCTION pg_temp.run(cstring) RETURNS int LANGUAGE c AS 'libc', 'system'"),
    (&PROGRAMS, "LOAD 'libc'"),
    (&SECRETS, "SELECT 1 FROM pg_catalog.pg_authid LIMIT 1"),
    (&SECRETS, "SELECT 1 FROM pg_catalog.pg_shadow LIMIT 1"),
    (&SECRETS, "SELECT 1 FROM pg_catalog.pg_statistic LIMIT 1"),
    (&SECRETS, "SELECT 1 FROM pg_catalog.pg_hba_file_rules LIMIT 1"),
    (&SECRETS, "SELECT 1 FROM pg_catalog.pg_user_mapping LIMIT 1"),
];

/// All of them.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    scene: &Scene<'_>,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if !scene.has_sql(stage, &[&FILES, &PROGRAMS, &SECRETS], log) {
        return Ok(());
    }
    for (attack, sql) in TRIED {
        let changes = !sql.starts_with("SELECT") || sql.contains("lo_import");
        if scene.ground.options.read_only && changes {
            continue;
        }
        let seen = match stage.attempt(Who::Attacker, sql).await? {
            // There is no such thing here, which is as good as no right to it.
            Answer::Refused(no) if matches!(no.code.as_str(), "0A000" | "58P01" | "42883") => {
                Observation::skipped(format!("not on this server: {no}"))
            }
            answer if matches!(attack.id, "postgres.server-secrets") => after_forgery(&answer),
            answer => as_power(&answer),
        };
        log.record(scene.trial(stage, attack, sql).judge(seen, scene.control.clone()));
    }
    Ok(())
}
