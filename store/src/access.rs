//! Tokens, and requests that must not be carried out twice.

use prophecy_core::Timestamp;

use crate::error::StoreError;
use crate::page::Page;
use crate::record::{IdempotencyKey, Token};
use crate::row::insertion;
use crate::statement::Statement;
use crate::store::Store;
use crate::table::Record;

/// Whether a request is the first under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It is, and is to be carried out.
    New,
    /// It is not: this is the first, with its answer if there is one yet.
    Existing(IdempotencyKey),
}

// === impl Store ===

impl Store {
    /// Stores a token.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is one with its id or its hash.
    pub async fn insert_token(&self, token: &Token) -> Result<(), StoreError> {
        self.insert("storing a token", token).await
    }

    /// Returns a token.
    pub async fn get_token(&self, id: &str) -> Result<Token, StoreError> {
        self.get("token", id).await
    }

    /// Returns the token with this hash, revoked or expired ones too.
    pub async fn find_token(&self, hash: &str) -> Result<Option<Token>, StoreError> {
        let sql = format!("{} WHERE hash = $1", Token::TABLE.select());
        self.first(Statement::new("finding a token", sql).bind(hash)).await
    }

    /// Lists tokens, revoked and expired ones too.
    pub async fn list_tokens(&self, page: &Page) -> Result<Vec<Token>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Token::TABLE.select());
        self.all(page.end(Statement::new("listing tokens", sql), "id")).await
    }

    /// Revokes a token; the time of the first revocation stays.
    pub async fn revoke_token(&self, id: &str, at: Timestamp) -> Result<Token, StoreError> {
        let sql = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
        self.execute(Statement::new("revoking a token", sql).bind(id).bind(at)).await?;
        self.get_token(id).await
    }

    /// Records that a token was used; an earlier time than the recorded one changes nothing.
    pub async fn touch_token(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE tokens SET last_used_at = $2 \
                   WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        let statement = Statement::new("recording the use of a token", sql).bind(id).bind(at);
        self.execute(statement).await.map(drop)
    }

    /// Takes a key for a request, unless it is taken.
    pub async fn reserve_idempotency_key(
        &self,
        key: &IdempotencyKey,
    ) -> Result<Reservation, StoreError> {
        const DOING: &str = "reserving an idempotency key";
        let insert = insertion(DOING, key)?.push(" ON CONFLICT (actor, key) DO NOTHING");
        if self.execute(insert).await? == 1 {
            return Ok(Reservation::New);
        }
        let sql = format!("{} WHERE actor = $1 AND key = $2", IdempotencyKey::TABLE.select());
        let found = self.first(Statement::new(DOING, sql).bind(&key.actor).bind(&key.key)).await?;
        found
            .map(Reservation::Existing)
            .ok_or_else(|| StoreError::not_found("idempotency key", &key.key))
    }

    /// Records the answer to the request that took a key; the first answer stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] if nobody took the key, or it is answered already.
    pub async fn complete_idempotency_key(
        &self,
        actor: &str,
        key: &str,
        response_status: u16,
        response_body: &str,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE idempotency_keys SET response_status = $3, response_body = $4 \
                   WHERE actor = $1 AND key = $2 AND response_status IS NULL";
        let statement = Statement::new("answering an idempotency key", sql)
            .bind(actor)
            .bind(key)
            .bind(u32::from(response_status))
            .bind(response_body);
        match self.execute(statement).await? {
            0 => Err(StoreError::not_found("open idempotency key", key)),
            _ => Ok(()),
        }
    }

    /// Gives a key back whose request was not carried out; an answered key stays.
    pub async fn release_idempotency_key(&self, actor: &str, key: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM idempotency_keys \
                   WHERE actor = $1 AND key = $2 AND response_status IS NULL";
        let statement = Statement::new("releasing an idempotency key", sql).bind(actor).bind(key);
        self.execute(statement).await.map(drop)
    }
}
