//! What is around every page: head, skip link, navigation, main, footer.

use prophecy_core::Timestamp;

use super::markup::Markup;

const STYLE: &str = include_str!("dashboard.css");
const SCRIPT: &str = include_str!("live.js");

/// Places of the navigation.
const PLACES: [(&str, &str); 6] = [
    ("/", "Accuracy"),
    ("/predictions", "Predictions"),
    ("/rollouts", "Rollouts"),
    ("/services", "Services"),
    ("/what-if", "What if"),
    ("/audit", "Audit"),
];

/// Who looks at a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The name of the token that was used.
    pub name: String,
    /// The role in words.
    pub role: String,
    /// Whether rollouts may be acted upon and predictions revoked.
    pub may_deploy: bool,
    /// Whether the audit log may be read.
    pub may_administer: bool,
}

/// What every page needs beside its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The time against which ages are told.
    pub now: Timestamp,
    /// Who looks, if someone is logged in.
    pub viewer: Option<Viewer>,
    /// The nonce that the content security policy names for style and script.
    pub nonce: String,
    /// The token that every form sends back.
    pub csrf: String,
}

/// How a page is called and where it is.
pub(super) struct Place<'a> {
    pub(super) title: &'a str,
    pub(super) path: &'static str,
    /// Whether the page shows something that is under way.
    pub(super) live: bool,
}

// === impl Context ===

impl Context {
    /// Returns whether the viewer may act on rollouts and predictions.
    pub(super) fn may_deploy(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.may_deploy)
    }

    fn may_administer(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.may_administer)
    }
}

/// Puts the frame around the content of a page.
pub(super) fn page(
    context: &Context,
    place: &Place<'_>,
    content: impl FnOnce(&mut Markup),
) -> String {
    let mut page = Markup::default();
    page.fixed("<!doctype html>\n");
    page.element("html", &[("lang", "en")], |html| {
        html.element("head", &[], |head| self::head(head, context, place));
        html.element("body", &[], |body| {
            body.leaf("a", &[("class", "skip"), ("href", "#main")], "Skip to the content");
            body.element("header", &[], |header| navigation(header, context, place));
            body.element("main", &[("id", "main"), ("tabindex", "-1")], content);
            body.element("footer", &[], |footer| {
                footer.leaf(
                    "p",
                    &[],
                    "Times are in UTC. A probability without an outcome is not scored.",
                );
            });
            if place.live {
                body.element("script", &[("nonce", &context.nonce)], |script| script.fixed(SCRIPT));
            }
        });
    });
    page.into_string()
}

fn head(head: &mut Markup, context: &Context, place: &Place<'_>) {
    head.void("meta", &[("charset", "utf-8")]);
    head.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    head.leaf("title", &[], &format!("{} · Prophecy", place.title));
    // An empty icon, so that no browser asks for one.
    head.void("link", &[("rel", "icon"), ("href", "data:,")]);
    if place.live {
        head.fixed("<noscript><meta http-equiv=\"refresh\" content=\"5\"/></noscript>");
    }
    head.element("style", &[("nonce", &context.nonce)], |style| style.fixed(STYLE));
}

fn navigation(header: &mut Markup, context: &Context, place: &Place<'_>) {
    header.leaf("a", &[("class", "brand"), ("href", "/")], "Prophecy");
    let Some(viewer) = &context.viewer else { return };
    header.element("nav", &[("aria-label", "Pages")], |nav| {
        nav.element("ul", &[], |list| {
            for (path, name) in PLACES {
                if path == "/audit" && !context.may_administer() {
                    continue;
                }
                list.element("li", &[], |item| {
                    if path == place.path {
                        item.leaf("a", &[("href", path), ("aria-current", "page")], name);
                    } else {
                        item.leaf("a", &[("href", path)], name);
                    }
                });
            }
        });
    });
    header.element(
        "form",
        &[("method", "post"), ("action", "/logout"), ("class", "who")],
        |form| {
            csrf(form, context);
            form.leaf("span", &[], &format!("{} ({})", viewer.name, viewer.role));
            form.leaf("button", &[("type", "submit"), ("class", "plain")], "Log out");
        },
    );
}

/// Adds the hidden field that proves that a form is ours.
pub(super) fn csrf(form: &mut Markup, context: &Context) {
    form.void("input", &[("type", "hidden"), ("name", "csrf"), ("value", &context.csrf)]);
}
