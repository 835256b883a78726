//! The end of an environment: every process of it, and the router last.

use crate::environment::{EnvironmentError, EnvironmentFolder};
use crate::router::{Client, haproxy};
use crate::traffic::RouterKind;

/// Ends what runs in an environment, and returns how many groups there were. Plans, journals and data stay.
///
/// # Errors
///
/// [`EnvironmentError`] if it cannot be read or written.
pub async fn down(folder: &EnvironmentFolder) -> Result<usize, EnvironmentError> {
    let mut environment = folder.read()?;
    let groups: Vec<_> = environment.groups.values().chain(&environment.retired).cloned().collect();
    // The router first: requests in flight end while what serves them is still there.
    drop(Client::new(&folder.router()).stop().await);
    if environment.router == RouterKind::Haproxy {
        // It goes on without its companion.
        haproxy::end(&folder.router()).await;
    }
    for group in &groups {
        group.stop(folder.home(&environment)).await;
    }
    environment.groups.clear();
    environment.retired.clear();
    environment.live.clear();
    environment.rollout = None;
    environment.previous = environment.current.take().or(environment.previous);
    folder.write(&environment)?;
    Ok(groups.len())
}
