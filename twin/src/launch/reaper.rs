//! Ends what is left of an arm, even when this process is killed.
//!
//! A shell waits on a pipe from this process. When the pipe closes, because the arm was stopped or
//! because this process is gone, it ends every process group that it was told of, and then every
//! process that still carries the arm's mark in its environment: workers that left their group.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Pid;

const SCRIPT: &str = r#"
groups=
while read -r group; do groups="$groups $group"; done
# With `-s`, since some shells take the `--` of `kill -TERM --` for a process number.
signal() { for group in $groups; do kill -s "$1" -- "-$group" 2>/dev/null; done; }
signal TERM
for round in 1 2 3 4 5 6 7 8 9 10; do
    alive=
    for group in $groups; do kill -s 0 -- "-$group" 2>/dev/null && alive=1; done
    [ -n "$alive" ] || break
    sleep 0.1
done
signal KILL
for round in 1 2 3 4 5; do
    found=
    for file in $(grep -lszx "$1" /proc/[0-9]*/environ); do
        process=${file#/proc/}
        process=${process%/environ}
        kill -s KILL "$process" 2>/dev/null && found=1
    done
    [ -n "$found" ] || exit 0
    sleep 0.05
done
"#;

/// The shell that waits, and the mark that it looks for.
#[derive(Debug)]
pub(super) struct Reaper {
    shell: Child,
    mark: String,
}

// === impl Reaper ===

impl Reaper {
    /// The environment variable that marks the processes of an arm.
    pub(super) const MARK: &'static str = "PROPHECY_ARM";

    pub(super) fn start() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{now}-{count}", std::process::id());
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "prophecy-reaper", &format!("{}={mark}", Self::MARK)])
            .env_remove(Self::MARK)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to our group, and must not end the one that cleans up.
            .process_group(0)
            .spawn()?;
        Ok(Self { shell, mark })
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Tells the shell of a process group.
    pub(super) fn watch(&mut self, group: Pid) {
        if let Some(stdin) = &mut self.shell.stdin {
            // If the shell is gone, dropping the process still ends its group.
            drop(writeln!(stdin, "{}", group.as_raw_nonzero()));
        }
    }

    /// Lets the shell clean up, and waits for it.
    pub(super) async fn finish(mut self) {
        drop(self.shell.stdin.take());
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::Signal;

    use super::*;

    fn sleeper(mark: &str) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").env(Reaper::MARK, mark).process_group(0).spawn().expect("starts")
    }

    #[test]
    fn asks_groups_kindly_and_ends_marked_stragglers() {
        let mut reaper = Reaper::start().expect("a shell is there");
        let (mut watched, mut straggler) = (sleeper("of no arm"), sleeper(reaper.mark()));
        let mut stranger = sleeper("of another arm");
        reaper.watch(Pid::from_child(&watched));
        drop(reaper);
        let strangers = stranger.try_wait().expect("ours");
        stranger.kill().expect("ours");
        stranger.wait().expect("ours");
        assert_eq!(strangers, None);
        assert_eq!(watched.wait().expect("ours").signal(), Some(Signal::TERM.as_raw()));
        assert_eq!(straggler.wait().expect("ours").signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn ends_a_group_that_does_not_listen() {
        let mut reaper = Reaper::start().expect("a shell is there");
        let deaf = "trap '' TERM; echo; while :; do sleep 600; done";
        let mut command = Command::new("/bin/sh");
        let command = command.args(["-c", deaf]).process_group(0).stdout(Stdio::piped());
        let mut deaf = command.spawn().expect("starts");
        let mut line = [0];
        deaf.stdout.as_mut().expect("piped").read_exact(&mut line).expect("its trap is set");
        reaper.watch(Pid::from_child(&deaf));
        drop(reaper);
        assert_eq!(deaf.wait().expect("ours").signal(), Some(Signal::KILL.as_raw()));
    }
}
