//! Making and revoking tokens.

use prophecy_core::Timestamp;
use prophecy_store::{Role, Token};
use serde::Deserialize;

use super::forecast::name;
use crate::call::Actor;
use crate::gateway::App;
use crate::problem::Problem;
use crate::token::{NewSecret, Scope};

/// What a new token shall be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) scope: Scope,
    pub(crate) expires_in_seconds: Option<u64>,
}

/// Makes a token within the scope of its maker; the text is shown this once.
pub(crate) async fn create(
    app: &App,
    actor: &Actor,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<(Token, String), Problem> {
    name("name", &request.name)?;
    let places = request.scope.systems.iter().chain(&request.scope.environments);
    for place in places {
        name("scope", place)?;
    }
    if !actor.scope.covers(&request.scope) {
        return Err(Problem::forbidden("the new token's scope is wider than that of its maker"));
    }
    let end = request
        .expires_in_seconds
        .map(|seconds| now.plus_nanos(seconds.saturating_mul(1_000_000_000)));
    let new = NewSecret::make(&request.name, request.role, &request.scope, now, end)
        .map_err(|_| Problem::internal())?;
    let token = new.token.clone();
    let text = new.store(&app.store).await?;
    Ok((token, text))
}

/// Revokes a token within the scope of the one who asks.
pub(crate) async fn revoke(
    app: &App,
    actor: &Actor,
    id: &str,
    now: Timestamp,
) -> Result<Token, Problem> {
    let token = app.store.get_token(id).await?;
    if !sees(actor, &token) {
        return Err(Problem::forbidden("the token's scope is not within that of who asks"));
    }
    Ok(app.store.revoke_token(id, now).await?)
}

/// Returns whether a token lies within an actor's scope.
pub(crate) fn sees(actor: &Actor, token: &Token) -> bool {
    serde_json::from_str::<Scope>(&token.scope_json).is_ok_and(|scope| actor.scope.covers(&scope))
}
