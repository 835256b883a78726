//! A running `mesh`, and a client of few words.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A service, killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// A connection that is kept.
pub(crate) struct Connection(BufReader<TcpStream>);

pub(crate) fn mesh() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mesh"))
}

impl Server {
    /// Starts a service on a free port, with `${DATA}` as a folder of its own.
    pub(crate) fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("service.yaml");
        std::fs::write(&config, yaml).expect("writable");
        let mut child = mesh()
            .args(["--config".as_ref(), config.as_os_str(), "--port".as_ref(), "0".as_ref()])
            .env("DATA", folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        stderr.read_line(&mut line).expect("readable");
        let address = line.trim().split_once("listens on http://").map(|(_, address)| address);
        let address = address.unwrap_or_else(|| panic!("no address in {line}")).to_owned();
        Self { child, address, folder }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("settable");
        Connection(BufReader::new(stream))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.connect().ask("GET", path, &[], "")
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()));
        let statm = statm.expect("it runs");
        let pages: u64 = statm.split(' ').nth(1).expect("a field").parse().expect("a number");
        pages * 4_096
    }

    /// Asks the process to end, and returns its exit code once it has.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Connection {
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let headers: String =
            headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(text.as_bytes()).expect("writable");
    }

    pub(crate) fn receive(&mut self) -> Reply {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a status line in time");
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().expect("a number"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).expect("JSON")
        };
        Reply { status: status.unwrap_or_else(|| panic!("no status in {line}")), headers, body }
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.send(method, path, headers, body);
        self.receive()
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
