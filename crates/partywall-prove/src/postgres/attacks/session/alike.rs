//! A tenant whose id looks like another's.

use super::{Scene, after_forgery};
use crate::{
    Attack, Control, Layer, Log, Weight,
    postgres::{
        attacks::STORE_CONTROLS,
        stage::{Gone, Stage, Who},
        tenancy::Context,
    },
};

pub(crate) static ALIKE: Attack = Attack {
    id: "postgres.id-alike",
    layer: Layer::Store,
    title: "be a tenant whose id looks like another's",
    about: "An honest session of a tenant whose id is the victim's in capitals, with a space, with \
            letters of another alphabet, cut, lengthened, or a pattern that matches it.",
    weight: Weight::Read,
    fix: "compare the tenant column by equality, in a deterministic collation (COLLATE \"C\") and in \
          a type that does not fold case; never by LIKE, a regular expression or a prefix",
    references: &["T-05", "CWE-178", "CWE-176"],
    supports: STORE_CONTROLS,
};

/// One trial for each id that looks alike, or matches.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    scene: &Scene<'_>,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let tickets = match scene.tenancy.context {
        Context::Settings(_) => false,
        Context::Ticket { .. } => true,
        Context::Roles | Context::Schemas | Context::Nothing => return Ok(()),
    };
    if !stage.can_be(Who::Nobody) {
        let draft = scene.trial(stage, &ALIKE, "a session of another tenant");
        log.record(draft.skip("this run has sessions of two tenants, and no others"));
        return Ok(());
    }
    let victim = scene.ground.id(Who::Victim);
    let bind = |id: &str| format!("{}{}", scene.tenancy.bind(id), scene.read);
    // The control: the victim's own id, by the same way.
    let answer = stage.attempt(Who::Nobody, &bind(victim)).await?;
    let said = format!("the id itself: {answer}");
    let control = if answer.count() > 0 { Control::held(said) } else { Control::failed(said) };
    // Elsewhere another spelling is the same id, unless ids are texts to whoever makes tickets.
    let is_text = scene.relation.tenant_column().is_some_and(|column| column.category == 'S');
    let by_letter = tickets || is_text;
    for (how, id) in ids(victim, by_letter) {
        if id == victim || id == scene.ground.id(Who::Attacker) || (tickets && id.len() > 255) {
            continue;
        }
        let seen = after_forgery(&stage.attempt(Who::Nobody, &bind(&id)).await?);
        let shown = format!("as tenant {:?} ({how}): {}", short(&id), scene.read);
        log.record(scene.trial(stage, &ALIKE, &shown).judge(seen, control.clone()));
    }
    Ok(())
}

fn short(id: &str) -> String {
    id.chars().take(60).collect()
}

fn ids(victim: &str, by_letter: bool) -> Vec<(&'static str, String)> {
    let any_letter = "_".repeat(victim.chars().count());
    let mut ids = vec![
        ("a pattern that matches all", "%".to_owned()),
        ("a pattern of the same length", any_letter),
        ("a regular expression that matches all", ".*".to_owned()),
        ("an asterisk", "*".to_owned()),
        ("two, with a comma", format!("x,{victim}")),
    ];
    if by_letter {
        let beginning: String = victim.chars().take(victim.chars().count() / 2).collect();
        // Fullwidth forms, which compatibility normalization (NFKC) folds to ASCII.
        let wide = |c: char| match c {
            '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
            c => c,
        };
        ids.extend([
            // A uuid in braces is the uuid itself.
            ("a list with it", format!("{{{victim}}}")),
            ("its beginning", beginning),
            ("in capitals", victim.to_uppercase()),
            ("a space behind", format!("{victim} ")),
            ("a space in front", format!(" {victim}")),
            ("a line's end behind", format!("{victim}\n")),
            ("a letter without width", format!("{victim}\u{200b}")),
            ("a combining accent", format!("{victim}\u{301}")),
            ("fullwidth letters", victim.chars().map(wide).collect()),
            ("letters of another alphabet", victim.replace('p', "\u{440}").replace('a', "\u{430}")),
            ("far too long", format!("{victim}{}", "x".repeat(4_000))),
        ]);
    }
    ids
}
