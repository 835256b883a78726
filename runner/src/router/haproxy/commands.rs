//! A connection by which one HAProxy process is commanded, and asked, until its end.
//!
//! The connection outlives a reload: a process that has handed its listeners on is still asked about what it
//! has in flight.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a process may take for an answer.
const ANSWER: Duration = Duration::from_millis(800);

/// What stands at the end of an answer.
const PROMPT: &[u8] = b"\n> ";

/// The connection.
#[derive(Debug)]
pub(super) struct Commands {
    stream: UnixStream,
    /// What has been read and belongs to no answer yet.
    read: Vec<u8>,
    /// Commands that were given and whose answers nobody waits for any more.
    unanswered: usize,
}

/// What a process says of one of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// The frontend or backend.
    pub(super) of: String,
    pub(super) name: String,
    pub(super) present: u64,
    pub(super) total: u64,
    /// Requests that went elsewhere since it did not take them.
    pub(super) redispatched: u64,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Where callers come in.
    #[default]
    Frontend,
    /// An arm of an edge.
    Backend,
    /// An instance of it.
    Server,
}

// === impl Commands ===

impl Commands {
    /// Connects to whatever process listens now.
    pub(super) async fn connect(socket: &Path) -> io::Result<Self> {
        let stream = timeout(ANSWER, UnixStream::connect(socket)).await??;
        let mut commands = Self { stream, read: Vec::new(), unanswered: 0 };
        commands.ask("prompt").await?;
        commands.ask("set timeout cli 86400").await?;
        Ok(commands)
    }

    /// Gives a command, and returns what was answered.
    pub(super) async fn ask(&mut self, command: &str) -> io::Result<String> {
        // Whoever asks may be broken off; what is answered then is not for who asks next.
        let before = self.unanswered;
        self.unanswered += 1;
        let asked = async {
            self.stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut left = before;
            loop {
                let answer = self.answer().await?;
                self.unanswered -= 1;
                if left == 0 {
                    return Ok(answer);
                }
                left -= 1;
            }
        };
        timeout(ANSWER, asked).await?
    }

    async fn answer(&mut self) -> io::Result<String> {
        loop {
            let end = self.read.windows(PROMPT.len()).position(|bytes| bytes == PROMPT);
            if let Some(end) = end {
                let answer = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.drain(..end + PROMPT.len());
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Gives a command that is answered with nothing if it is done.
    pub(super) async fn tell(&mut self, command: &str) -> io::Result<()> {
        let answer = self.ask(command).await?;
        if answer.trim().is_empty() { Ok(()) } else { Err(io::Error::other(answer)) }
    }

    /// Says which process it is, and of which generation.
    pub(super) async fn identity(&mut self) -> io::Result<(i32, u64)> {
        let answer = self.ask("show info").await?;
        let field = |name: &str| {
            answer.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
        };
        let generation = field("description:").strip_prefix("prophecy-").unwrap_or_default();
        let odd = || io::Error::other("it is no process of ours");
        let pid = field("Pid:").parse().map_err(|_| odd())?;
        Ok((pid, generation.parse().map_err(|_| odd())?))
    }

    /// Replaces everything in a map at once.
    pub(super) async fn replace(
        &mut self,
        map: &str,
        pairs: &[(String, String)],
    ) -> io::Result<()> {
        let answer = self.ask(&format!("prepare map {map}")).await?;
        let version = answer.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        for (key, value) in pairs {
            self.tell(&format!("add map @{version} {map} {key} {value}")).await?;
        }
        self.tell(&format!("commit map @{version} {map}")).await?;
        // What was told is read back: a process that did not do it must not be taken for one that did.
        let answer = self.ask(&format!("show map {map}")).await?;
        let mut found: Vec<&str> =
            answer.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        let mut expected: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key} {value}")).collect();
        found.sort_unstable();
        expected.sort_unstable();
        if found == expected { Ok(()) } else { Err(io::Error::other("it was not done")) }
    }

    /// Asks what each part has and has had.
    pub(super) async fn rows(&mut self) -> io::Result<Vec<Row>> {
        Ok(rows(&self.ask("show stat -1 7 -1").await?))
    }
}

fn rows(answer: &str) -> Vec<Row> {
    let mut lines = answer.lines();
    let head = lines.next().unwrap_or_default().trim_start_matches("# ");
    let places: BTreeMap<&str, usize> = head.split(',').zip(0..).collect();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let text = |name: &str| fields.get(*places.get(name)?).copied();
        let count = |name: &str| text(name).and_then(|it| it.parse().ok()).unwrap_or_default();
        let kind = match text("type")? {
            "0" => Kind::Frontend,
            "1" => Kind::Backend,
            _ => Kind::Server,
        };
        Some(Row {
            kind,
            of: text("pxname")?.to_owned(),
            name: text("svname")?.to_owned(),
            present: count("scur"),
            total: count("stot"),
            redispatched: count("wredis"),
        })
    };
    lines.filter_map(row).collect()
}
