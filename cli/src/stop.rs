//! Ctrl-C and SIGTERM: the first asks to end cleanly, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A request to stop, visible to async and to ordinary code.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    changed: watch::Receiver<bool>,
}

// === impl Stop ===

impl Stop {
    /// Starts to listen for signals on the current tokio runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let flag = Arc::new(AtomicBool::new(false));
        let (sender, changed) = watch::channel(false);
        let raised = Arc::clone(&flag);
        tokio::spawn(async move {
            for nth in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if nth > 0 {
                    // The person asked twice: whatever hangs must not keep the terminal. Children
                    // are tied to this process and end with it.
                    end_now();
                }
                raised.store(true, Ordering::SeqCst);
                sender.send_replace(true);
            }
        });
        Ok(Self { flag, changed })
    }

    /// Says whether a stop was asked for.
    pub(crate) fn requested(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Returns the flag, for code that polls.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Waits until a stop is asked for.
    pub(crate) async fn wait(mut self) {
        // An error means that the listener is gone, which only happens at the end of the process.
        if self.changed.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[expect(clippy::exit, reason = "a second interrupt must end the process whatever it is doing")]
fn end_now() {
    std::process::exit(i32::from(crate::exit_code::ExitCode::Interrupted.number()));
}
