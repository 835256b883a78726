//! Who may do what: the one table from which the router, the authorization and the OpenAPI document
//! are made. What is not in it is refused.

use prophecy_store::Role;

/// What an operation needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// To read: any role.
    Read,
    /// To steer: a deployer or an admin.
    Deploy,
    /// To approve: an approver or an admin; a deployer cannot approve what it deploys.
    Approve,
    /// To manage: an admin.
    Administer,
    /// To manage or to see what is not divided by system: an admin of everywhere.
    AdministerEverywhere,
}

/// Every operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table tells each in words")]
pub enum Operation {
    Health,
    Metrics,
    OpenApi,
    ListPredictions,
    CreatePrediction,
    GetPrediction,
    GetReport,
    RevokePrediction,
    ListGates,
    DecideGate,
    ListRollouts,
    CreateRollout,
    GetRollout,
    SteerRollout,
    ListSteps,
    ListVerdicts,
    ListLogs,
    StreamLogs,
    ListApprovals,
    CreateApproval,
    ListOutcomes,
    SettleOutcome,
    GetOutcome,
    GetAccuracy,
    ListEvents,
    StreamEvents,
    ListTokens,
    CreateToken,
    RevokeToken,
    ListWebhooks,
    CreateWebhook,
    GetWebhook,
    DeleteWebhook,
    ListDeliveries,
    Redeliver,
    ListAudit,
    VerifyAudit,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The operation.
    pub operation: Operation,
    /// Its method.
    pub method: &'static str,
    /// Its path, with `{names}` of parameters.
    pub path: &'static str,
    /// What it needs.
    pub need: Need,
    /// What it is called in the audit log.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// The schema of what it takes, if it takes a body.
    pub takes: Option<&'static str>,
    /// The status and schema of what it answers.
    pub answers: (u16, &'static str),
    /// The parameters of its query.
    pub query: &'static [&'static str],
}

const PAGED: &[&str] = &["after", "limit"];

const fn read(operation: Operation, path: &'static str, name: &'static str) -> Rule {
    Rule {
        operation,
        method: "GET",
        path,
        need: Need::Read,
        name,
        summary: "",
        takes: None,
        answers: (200, "Object"),
        query: &[],
    }
}

const fn write(operation: Operation, path: &'static str, name: &'static str) -> Rule {
    Rule {
        operation,
        method: "POST",
        path,
        need: Need::Deploy,
        name,
        summary: "",
        takes: None,
        answers: (201, "Object"),
        query: &[],
    }
}

impl Rule {
    const fn by(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    const fn does(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    const fn takes(mut self, schema: &'static str) -> Self {
        self.takes = Some(schema);
        self
    }

    const fn answers(mut self, status: u16, schema: &'static str) -> Self {
        self.answers = (status, schema);
        self
    }

    const fn query(mut self, query: &'static [&'static str]) -> Self {
        self.query = query;
        self
    }

    /// Returns whether the operation changes something.
    pub fn is_mutation(&self) -> bool {
        self.method != "GET"
    }
}

/// The table.
pub const RULES: &[Rule] = &[
    read(Operation::Health, "/health", "health").by(Need::Nothing)
        .does("Tells whether the store can be reached and how long the queues are.").answers(200, "Health"),
    read(Operation::Metrics, "/metrics", "metrics")
        .does("Gives counters in Prometheus' text format.").answers(200, "Text"),
    read(Operation::OpenApi, "/openapi.json", "openapi").by(Need::Nothing)
        .does("Gives this document.").answers(200, "Object"),
    read(Operation::ListPredictions, "/api/v1/predictions", "prediction.list")
        .does("Lists predictions, the newest first.").answers(200, "Predictions")
        .query(&["after", "limit", "system", "environment", "verdict"]),
    write(Operation::CreatePrediction, "/api/v1/predictions", "prediction.register")
        .does("Registers the forecast of a report before the deployment.").takes("Report")
        .answers(201, "Prediction").query(&["environment", "window_seconds", "expires_in_seconds"]),
    read(Operation::GetPrediction, "/api/v1/predictions/{id}", "prediction.get")
        .does("Gives a prediction with its claims.").answers(200, "Prediction"),
    read(Operation::GetReport, "/api/v1/predictions/{id}/report", "prediction.report")
        .does("Gives the full report, as JSON or as a page.").answers(200, "Report").query(&["format"]),
    write(Operation::RevokePrediction, "/api/v1/predictions/{id}/revoke", "prediction.revoke")
        .does("Withdraws a prediction: no gate passes on it any more.").answers(200, "Prediction"),
    read(Operation::ListGates, "/api/v1/predictions/{id}/gates", "gate.list")
        .does("Lists the decisions made on a prediction.").answers(200, "Gates"),
    write(Operation::DecideGate, "/api/v1/gates", "gate.decide")
        .does("Decides go or no-go on a prediction, and stores the decision.").takes("GateRequest")
        .answers(201, "Gate"),
    read(Operation::ListRollouts, "/api/v1/rollouts", "rollout.list")
        .does("Lists rollouts, the newest first.").answers(200, "Rollouts")
        .query(&["after", "limit", "system", "environment", "active"]),
    write(Operation::CreateRollout, "/api/v1/rollouts", "rollout.create")
        .does("Begins a rollout, or gives the one under way of the same candidate to the same place.")
        .takes("RolloutRequest").answers(201, "Rollout"),
    read(Operation::GetRollout, "/api/v1/rollouts/{id}", "rollout.get")
        .does("Gives a rollout; its ETag names the revision.").answers(200, "Rollout"),
    write(Operation::SteerRollout, "/api/v1/rollouts/{id}/{verb}", "rollout.steer")
        .does("Promotes, pauses, resumes, aborts or rolls back, if the rollout is as the caller saw it.")
        .takes("Steering").answers(200, "Rollout"),
    read(Operation::ListSteps, "/api/v1/rollouts/{id}/steps", "rollout.steps")
        .does("Lists the steps of a rollout.").answers(200, "Steps"),
    read(Operation::ListVerdicts, "/api/v1/rollouts/{id}/verdicts", "rollout.verdicts")
        .does("Lists the judgements of a rollout.").answers(200, "Verdicts"),
    read(Operation::ListLogs, "/api/v1/rollouts/{id}/logs", "rollout.logs")
        .does("Lists lines of a rollout's log.").answers(200, "LogLines").query(PAGED),
    read(Operation::StreamLogs, "/api/v1/rollouts/{id}/logs/stream", "rollout.logs.stream")
        .does("Streams a rollout's log.").answers(200, "Stream"),
    read(Operation::ListApprovals, "/api/v1/rollouts/{id}/approvals", "approval.list")
        .does("Lists the approvals of a rollout.").answers(200, "Approvals"),
    write(Operation::CreateApproval, "/api/v1/rollouts/{id}/approvals", "approval.give").by(Need::Approve)
        .does("Records a signed approval of a stage at a revision.").takes("ApprovalRequest")
        .answers(201, "Approval"),
    read(Operation::ListOutcomes, "/api/v1/outcomes", "outcome.list")
        .does("Lists outcomes.").answers(200, "Outcomes").query(PAGED),
    write(Operation::SettleOutcome, "/api/v1/outcomes", "outcome.settle")
        .does("Settles the claims of a prediction with what was measured.").takes("OutcomeRequest")
        .answers(201, "Outcome"),
    read(Operation::GetOutcome, "/api/v1/outcomes/{id}", "outcome.get")
        .does("Gives the outcome of a prediction.").answers(200, "Outcome"),
    read(Operation::GetAccuracy, "/api/v1/accuracy", "accuracy.get")
        .does("Scores the settled claims.").answers(200, "Accuracy")
        .query(&["system", "environment", "service", "metric"]),
    read(Operation::ListEvents, "/api/v1/events", "event.list")
        .does("Lists events as CloudEvents, the oldest first.").answers(200, "Events")
        .query(&["after", "limit", "subject", "type"]),
    read(Operation::StreamEvents, "/api/v1/events/stream", "event.stream")
        .does("Streams events; `Last-Event-ID` resumes without loss or repetition.").answers(200, "Stream")
        .query(&["after"]),
    read(Operation::ListTokens, "/api/v1/tokens", "token.list").by(Need::Administer)
        .does("Lists tokens within the caller's scope, without secrets.").answers(200, "Tokens").query(PAGED),
    write(Operation::CreateToken, "/api/v1/tokens", "token.create").by(Need::Administer)
        .does("Makes a token and shows its secret, this once.").takes("TokenRequest").answers(201, "NewToken"),
    write(Operation::RevokeToken, "/api/v1/tokens/{id}/revoke", "token.revoke").by(Need::Administer)
        .does("Revokes a token.").answers(200, "Token"),
    read(Operation::ListWebhooks, "/api/v1/webhooks", "webhook.list").by(Need::AdministerEverywhere)
        .does("Lists webhooks.").answers(200, "Webhooks").query(PAGED),
    write(Operation::CreateWebhook, "/api/v1/webhooks", "webhook.create").by(Need::AdministerEverywhere)
        .does("Registers a receiver and shows its signing secret, this once.").takes("WebhookRequest")
        .answers(201, "NewWebhook"),
    read(Operation::GetWebhook, "/api/v1/webhooks/{id}", "webhook.get").by(Need::AdministerEverywhere)
        .does("Gives a webhook.").answers(200, "Webhook"),
    Rule { method: "DELETE", ..write(Operation::DeleteWebhook, "/api/v1/webhooks/{id}", "webhook.delete") }
        .by(Need::AdministerEverywhere)
        .does("Switches a webhook off; its deliveries stay on record.").answers(200, "Webhook"),
    read(Operation::ListDeliveries, "/api/v1/webhooks/{id}/deliveries", "delivery.list")
        .by(Need::AdministerEverywhere).does("Lists the deliveries of a webhook.").answers(200, "Deliveries")
        .query(&["after", "limit", "state"]),
    write(Operation::Redeliver, "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver", "delivery.redeliver")
        .by(Need::AdministerEverywhere).does("Tries a delivery again, now.").answers(200, "Delivery"),
    read(Operation::ListAudit, "/api/v1/audit", "audit.list").by(Need::AdministerEverywhere)
        .does("Lists the audit log, the oldest first.").answers(200, "AuditEntries").query(PAGED),
    read(Operation::VerifyAudit, "/api/v1/audit/verify", "audit.verify").by(Need::AdministerEverywhere)
        .does("Walks the chain of the audit log.").answers(200, "AuditChain"),
];

/// Returns whether a role, within a scope that holds everything or not, has what is needed.
pub fn permits(need: Need, role: Option<Role>, everywhere: bool) -> bool {
    match (need, role) {
        (Need::Nothing, _) => true,
        (_, None) => false,
        (Need::Read, Some(_)) => true,
        (Need::Deploy, Some(role)) => matches!(role, Role::Deployer | Role::Admin),
        (Need::Approve, Some(role)) => matches!(role, Role::Approver | Role::Admin),
        (Need::Administer, Some(role)) => role == Role::Admin,
        (Need::AdministerEverywhere, Some(role)) => role == Role::Admin && everywhere,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_and_every_path_is_in_the_table_once() {
        let operations: BTreeSet<_> = RULES.iter().map(|rule| rule.operation).collect();
        let places: BTreeSet<_> = RULES.iter().map(|rule| (rule.method, rule.path)).collect();
        assert_eq!(operations.len(), RULES.len());
        assert_eq!(places.len(), RULES.len());
    }

    #[test]
    fn a_deployer_cannot_approve_and_an_approver_cannot_deploy() {
        assert!(!permits(Need::Approve, Some(Role::Deployer), true));
        assert!(!permits(Need::Deploy, Some(Role::Approver), true));
        assert!(permits(Need::Approve, Some(Role::Approver), false));
        assert!(!permits(Need::Read, None, true));
        assert!(!permits(Need::AdministerEverywhere, Some(Role::Admin), false));
    }
}
