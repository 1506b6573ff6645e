//! What the page is made of: sections, tables, pairs.

use crate::report::markup::Markup;

/// A section under its heading.
pub(super) fn section(page: &mut Markup, id: &str, title: &str, inside: impl FnOnce(&mut Markup)) {
    let heading = format!("{id}-title");
    page.element("section", &[("id", id), ("aria-labelledby", &heading)], |page| {
        page.says("h2", &[("id", &heading)], title);
        inside(page);
    });
}

/// A table that says what it is.
pub(super) fn table(
    page: &mut Markup,
    caption: &str,
    columns: &[&str],
    rows: impl FnOnce(&mut Markup),
) {
    // What scrolls sideways must be reached by the keyboard, too.
    let wide = [("class", "wide"), ("role", "region"), ("aria-label", caption), ("tabindex", "0")];
    page.element("div", &wide, |page| {
        page.element("table", &[], |page| {
            page.says("caption", &[], caption);
            page.element("thead", &[], |page| {
                page.element("tr", &[], |page| {
                    for column in columns {
                        page.says("th", &[("scope", "col")], column);
                    }
                });
            });
            page.element("tbody", &[], rows);
        });
    });
}

/// Labels and what stands to them; what is empty is left out.
pub(super) fn pairs(page: &mut Markup, pairs: &[(&str, &str)]) {
    page.element("dl", &[], |page| {
        for (label, text) in pairs.iter().filter(|(_, text)| !text.is_empty()) {
            page.says("dt", &[], label);
            page.says("dd", &[], text);
        }
    });
}
