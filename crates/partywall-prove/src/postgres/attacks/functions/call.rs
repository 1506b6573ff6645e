//! What can be called, and with which values.

use super::{DERIVED, FUNCTION};
use crate::{
    Attack,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        schema::{Relation, text},
        sql::{ident, literal, typed},
        stage::{Gone, Who},
    },
};

/// A function or a procedure that the application's role may call.
pub(super) struct Callable {
    /// `shop.order_total`.
    pub place: String,
    /// With its arguments, for people.
    pub signature: String,
    /// SECURITY DEFINER.
    pub definer: bool,
    quoted: String,
    /// Whether it returns a cursor, for somebody to fetch from.
    pub gives_cursor: bool,
    procedure: bool,
    volatile: bool,
    immutable: bool,
    arguments: Vec<(String, String)>,
    defaults: usize,
}

/// One statement to be asked as each side.
pub(super) struct Call {
    /// What it tries.
    pub attack: &'static Attack,
    /// What is called.
    pub place: String,
    /// The statement.
    pub sql: String,
    /// Whether it works with its owner's rights.
    pub definer: bool,
    /// Whether it may write.
    pub writes: bool,
    /// Whether nothing was handed to it.
    pub bare: bool,
    /// The same with keys that are nobody's, where a difference tells that the victim's are there.
    pub of_nobody: Option<String>,
}

/// Trigger functions cannot be called; those of extensions are not the application's.
const CALLABLE: &str = "
    SELECT n.nspname, p.proname, p.prokind, p.prosecdef, p.provolatile, p.pronargdefaults,
           coalesce((SELECT string_agg(coalesce(p.proargnames[a.n], '') || E'\\x02'
                                       || pg_catalog.format_type(a.t, NULL), E'\\x01' ORDER BY a.n)
                       FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]))
                            WITH ORDINALITY AS a(t, n)
                      WHERE p.proargmodes IS NULL OR p.proargmodes[a.n] IN ('i', 'b')), ''),
           pg_catalog.pg_get_function_identity_arguments(p.oid),
           p.prorettype = 'refcursor'::regtype
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname !~ '^(pg_|information_schema$|partywall$)'
       AND p.prokind IN ('f', 'p') AND p.provariadic = 0
       AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype,
                                'language_handler'::regtype, 'fdw_handler'::regtype)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                          AND d.deptype = 'e')
       AND has_schema_privilege({role}, n.oid, 'USAGE')
       AND has_function_privilege({role}, p.oid, 'EXECUTE')
     ORDER BY 1, 2, 8";

impl Callable {
    /// All that the application's role may call.
    pub(super) async fn all(stage: &mut OneSession) -> Result<Vec<Self>, Gone> {
        let own = stage.tenant(Who::Attacker).and_then(|tenant| tenant.role.clone());
        let role = own.or_else(|| stage.tenancy().role().map(str::to_owned));
        let role = role.map_or_else(|| "session_user".to_owned(), |role| literal(&role));
        let rows = stage.session().all(&CALLABLE.replace("{role}", &role)).await?;
        let callable = rows.iter().map(|row| {
            let (schema, name) = (text(row, 0), text(row, 1));
            let arguments = text(row, 6);
            Self {
                place: format!("{schema}.{name}"),
                signature: format!("{schema}.{name}({})", text(row, 7)),
                quoted: format!("{}.{}", ident(&schema), ident(&name)),
                procedure: text(row, 2) == "p",
                definer: text(row, 3) == "t",
                gives_cursor: text(row, 8) == "t",
                volatile: text(row, 4) == "v",
                immutable: text(row, 4) == "i",
                defaults: text(row, 5).parse().unwrap_or_default(),
                arguments: arguments
                    .split('\u{1}')
                    .filter_map(|argument| argument.split_once('\u{2}'))
                    .map(|(name, type_name)| (name.to_owned(), type_name.to_owned()))
                    .collect(),
            }
        });
        Ok(callable.collect())
    }

    /// A call with the victim's values; `None` where some argument has none that is known.
    pub(super) fn with(&self, ground: &Ground) -> Option<Call> {
        self.called(&|name, type_name| value(ground, name, type_name))
    }

    /// The same with the victim's name in every place whose own name tells nothing. `None` where
    /// there is none.
    pub(super) fn with_tenant(&self, ground: &Ground) -> Option<Call> {
        let untold = |name: &str, type_name: &str| {
            !self.immutable
                && value(ground, name, type_name) == ordinary(type_name)
                && ground.schema.tenant_relations().any(|relation| {
                    relation
                        .tenant_column()
                        .is_some_and(|column| same(&column.type_name, type_name))
                })
        };
        let any = self.arguments.iter().any(|(name, type_name)| untold(name, type_name));
        any.then(|| {
            self.called(&|name, type_name| match untold(name, type_name) {
                true => Some(typed(ground.id(Who::Victim), type_name)),
                false => value(ground, name, type_name),
            })
        })
        .flatten()
    }

    fn called(&self, value: &dyn Fn(&str, &str) -> Option<String>) -> Option<Call> {
        let needed = self.arguments.len().saturating_sub(self.defaults);
        let (mut values, mut nobodys) = (Vec::new(), Vec::new());
        for (n, (name, type_name)) in self.arguments.iter().enumerate() {
            let Some(value) = value(name, type_name) else {
                if n >= needed {
                    break;
                }
                return None;
            };
            let ordinary = ordinary(type_name).as_ref() == Some(&value);
            nobodys.push(if ordinary { Some(value.clone()) } else { nobodys_key(type_name) });
            values.push(value);
        }
        let sql = self.asked_with(&values);
        let of_nobody = nobodys.into_iter().collect::<Option<Vec<String>>>();
        let of_nobody = of_nobody
            .map(|values| self.asked_with(&values))
            .filter(|of_nobody| !self.immutable && *of_nobody != sql);
        Some(Call {
            attack: &FUNCTION,
            place: self.place.clone(),
            sql,
            definer: self.definer,
            writes: self.volatile || self.procedure,
            bare: values.is_empty(),
            of_nobody,
        })
    }

    fn asked_with(&self, values: &[String]) -> String {
        let call = format!("{}({})", self.quoted, values.join(", "));
        if self.procedure {
            format!("CALL {call}")
        } else {
            everything(&format!("{call} AS f"), "f")
        }
    }
}

impl Call {
    /// Reads a view.
    pub(super) fn reading(view: &Relation) -> Self {
        Self {
            attack: &DERIVED,
            place: view.place(),
            sql: everything(&format!("{} AS f", view.quoted()), "f"),
            definer: false,
            writes: false,
            bare: true,
            of_nobody: None,
        }
    }
}

/// What a source gives, on one line: how many rows, their digest, and the beginning of them.
fn everything(source: &str, alias: &str) -> String {
    format!(
        "SELECT count(*)::text, md5(string_agg(x, '|' ORDER BY x)), \
                left(string_agg(x, '|' ORDER BY x), 20000) \
           FROM (SELECT {alias}::text AS x FROM {source} LIMIT 1000) AS t"
    )
}

/// A value of the victim's for an argument, by its name and type.
fn value(ground: &Ground, name: &str, type_name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let plain = ["p_", "in_", "v_", "arg_", "_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(&name)
        .trim_end_matches('_');
    let tenant_named = ground.schema.tenant_relations().find(|relation| {
        relation.tenant_column().is_some_and(|column| {
            (column.name == plain || plain.contains("tenant")) && same(&column.type_name, type_name)
        })
    });
    if tenant_named.is_some() {
        return Some(typed(ground.id(Who::Victim), type_name));
    }
    by_column(ground, plain, type_name)
        .or_else(|| by_table(ground, plain, type_name))
        .or_else(|| by_key(ground, plain, type_name))
        .or_else(|| ordinary(type_name))
}

/// The victim's value in a column of that name.
fn by_column(ground: &Ground, name: &str, type_name: &str) -> Option<String> {
    ground.schema.tenant_relations().find_map(|relation| {
        let column = relation.column(name).filter(|c| same(&c.type_name, type_name))?;
        known(ground, relation, &column.name)
    })
}

/// `order_id` is the key of `order` or `orders`.
fn by_table(ground: &Ground, name: &str, type_name: &str) -> Option<String> {
    let table = name.strip_suffix("_id").or_else(|| name.strip_suffix("id"))?;
    ground
        .schema
        .tenant_relations()
        .filter(|relation| {
            let rest = relation.name.strip_prefix(table);
            !table.is_empty() && matches!(rest, Some("" | "s" | "es"))
        })
        .find_map(|relation| key_of(ground, relation, type_name))
}

/// An argument without a telling name: any key of that type.
fn by_key(ground: &Ground, name: &str, type_name: &str) -> Option<String> {
    let telling = !matches!(name, "" | "id" | "key" | "uuid");
    if telling && type_name != "uuid" {
        return None;
    }
    ground.schema.tenant_relations().find_map(|relation| key_of(ground, relation, type_name))
}

fn key_of(ground: &Ground, relation: &Relation, type_name: &str) -> Option<String> {
    let tenant = relation.tenant_column()?;
    let columns = relation.keys.iter().flatten().filter(|column| **column != tenant.name);
    columns
        .filter(|name| relation.column(name).is_some_and(|c| same(&c.type_name, type_name)))
        .find_map(|name| known(ground, relation, name))
}

fn known(ground: &Ground, relation: &Relation, column: &str) -> Option<String> {
    let value = ground.row(relation, Who::Victim)?.literals.get(column)?;
    (value != "NULL").then(|| value.clone())
}

/// A key that no row has.
fn nobodys_key(type_name: &str) -> Option<String> {
    let value = match type_name {
        "uuid" => "7a11dead-0000-4000-8000-00000000beef",
        "integer" | "bigint" | "numeric" => "987654321",
        "text" | "character varying" => "pw-nobody",
        _ => return None,
    };
    Some(typed(value, type_name))
}

/// A value that mostly means: everything.
fn ordinary(type_name: &str) -> Option<String> {
    let value = match type_name {
        "integer" | "bigint" | "smallint" | "numeric" => "100",
        "text" | "character varying" => "%",
        "boolean" => "true",
        _ => return None,
    };
    Some(typed(value, type_name))
}

/// Whether both are the same type, but for a length, or both are text.
fn same(one: &str, other: &str) -> bool {
    let base = |name: &str| name.split('(').next().unwrap_or(name).to_owned();
    let text = |name: &str| matches!(name, "text" | "character varying" | "character");
    let whole = |name: &str| matches!(name, "bigint" | "integer" | "smallint");
    let (one, other) = (base(one), base(other));
    one == other || (text(&one) && text(&other)) || (whole(&one) && whole(&other))
}
