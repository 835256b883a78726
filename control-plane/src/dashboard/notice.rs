//! `/login`, and what is shown where a page cannot be.

use super::frame::{Context, Place, csrf, page};

/// Why a page cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such page.
    NotFound,
    /// The role does not suffice.
    Forbidden,
    /// It is our fault.
    Broken,
}

/// Returns the page that asks for a token; `failed` after one that was not accepted.
pub fn login(context: &Context, failed: bool) -> String {
    let place = Place { title: "Log in", path: "/login", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "Log in");
        main.leaf(
            "p",
            &[("class", "lead")],
            "With a token of the control plane. It is kept in no page and no address.",
        );
        if failed {
            main.leaf(
                "p",
                &[("class", "bad"), ("role", "alert")],
                "This token is not accepted: it is unknown, expired or revoked.",
            );
        }
        main.element(
            "form",
            &[("method", "post"), ("action", "/login"), ("class", "card filters")],
            |form| {
                csrf(form, context);
                // Password managers and screen readers expect a name beside a secret.
                form.void(
                    "input",
                    &[
                        ("type", "text"),
                        ("name", "user"),
                        ("value", "token"),
                        ("autocomplete", "username"),
                        ("hidden", "hidden"),
                    ],
                );
                super::panel::field(
                    form,
                    "Token",
                    &[
                        ("type", "password"),
                        ("name", "token"),
                        ("autocomplete", "current-password"),
                        ("required", "required"),
                    ],
                );
                form.leaf("button", &[("type", "submit")], "Log in");
            },
        );
    })
}

/// Returns the page of a refusal; `request` is the id under which it is logged.
pub fn refusal(context: &Context, refusal: Refusal, request: &str) -> String {
    let (title, words) = match refusal {
        Refusal::NotFound => (
            "Not found",
            "There is nothing at this address. It may have been removed, or mistyped.",
        ),
        Refusal::Forbidden => (
            "Not allowed",
            "Your role does not include this. An administrator can give you a token that does.",
        ),
        Refusal::Broken => (
            "Something broke",
            "This is our fault, not yours. Nothing was changed by looking; try again in a moment.",
        ),
    };
    let place = Place { title, path: "/error", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], title);
        main.leaf("p", &[("class", "lead")], words);
        main.element("p", &[], |p| {
            p.leaf("a", &[("href", "/")], "To the first page");
            p.text(". Request ");
            p.leaf("code", &[], request);
        });
    })
}
