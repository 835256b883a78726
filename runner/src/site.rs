//! Small questions about an environment that several parts ask.

use prophecy_twin::load_system;

use crate::environment::Environment;

/// Returns the path by which the entry says that it is ready, if its manifest names one.
pub(crate) fn health_path(environment: &Environment) -> Option<String> {
    let group = environment.groups.get(environment.live.get(&environment.entry)?)?;
    let system = load_system(&group.manifest).ok()?.system;
    system.services.get(&environment.entry)?.run.as_ref()?.ready.http.clone()
}
