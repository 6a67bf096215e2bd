//! Starting, killing and asking the servers.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::front;

const PROGRAM: &str = "HEADSUP_TEST_CLICKHOUSE_SERVER";
/// Longest wait for a server to start.
const START_MAX: Duration = Duration::from_secs(60);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The ClickHouse 26.7 engine behind our HTTP front.
    Modern,
    /// Debian's server 18.16.
    Old,
}

/// A server on a loopback port, with its data in a folder. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    folder: PathBuf,
    /// How the engine is started: a test of the calling binary.
    serving_test: &'static str,
    program: OsString,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// The password of user `headsup` of the old server; `default` has none.
    pub const PASSWORD: &str = "opensesame";

    /// Starts one with its data below `folder`; `None`, with a note on standard error, if
    /// the environment does not say where it is. `serving_test` is the test of the calling
    /// binary that calls [`crate::serve_if_asked`].
    ///
    /// # Panics
    /// It does not start.
    pub fn start(kind: Kind, folder: &Path, serving_test: &'static str) -> Option<Self> {
        let variable = match kind {
            Kind::Modern => front::LIBRARY,
            Kind::Old => PROGRAM,
        };
        let Some(program) = std::env::var_os(variable).filter(|program| !program.is_empty()) else {
            static SAID: [Once; 2] = [const { Once::new() }; 2];
            // Once for all tests, and not captured by their harness, unlike eprintln.
            SAID[kind as usize].call_once(|| {
                let _ = writeln!(std::io::stderr(), "left out: ClickHouse, {kind:?}: {variable} is not set");
            });
            return None;
        };
        let folder = folder.join(format!("{kind:?}").to_lowercase());
        fs::create_dir_all(&folder).expect("a folder of ours");
        let mut server = Self { kind, folder, serving_test, program, port: 0, child: None };
        server.restart();
        Some(server)
    }

    /// Starts it again after [`Server::kill`], at the same port.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.kill();
        match self.kind {
            Kind::Modern => self.start_engine(),
            Kind::Old => self.start_debian(),
        }
    }

    /// Ends the process at once, as `kill -9` does.
    ///
    /// # Panics
    /// It is not ours.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the server says to a query, in its own words and tab-separated; an error too. This
    /// is what tests check with, so it shares nothing with what they check.
    pub fn say(&self, sql: &str) -> String {
        self.ask(sql).unwrap_or_else(|error| format!("no answer: {error}"))
    }

    fn ask(&self, sql: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "POST /?default_format=TabSeparated HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{sql}",
            sql.len()
        )?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut chunked, mut length) = (String::new(), false, None);
        while reader.read_line(&mut line)? > 0 {
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            chunked |= header == "transfer-encoding: chunked";
            length = header.strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()).or(length);
            line.clear();
        }
        let mut body = Vec::new();
        match (chunked, length) {
            (false, Some(length)) => drop(reader.take(length).read_to_end(&mut body)?),
            (false, None) => drop(reader.read_to_end(&mut body)?),
            (true, _) => loop {
                line.clear();
                reader.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
                Read::take(&mut reader, size).read_to_end(&mut body)?;
                reader.read_line(&mut line)?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(String::from_utf8_lossy(&body).trim_end_matches('\n').to_owned())
    }

    fn start_engine(&mut self) {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([self.serving_test, "--exact", "--nocapture"])
            .env(front::LIBRARY, &self.program)
            .env(front::FOLDER, self.folder.join("data"))
            .env(front::PORT, self.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test starts again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        self.child = Some(child);
        for line in lines {
            // The harness may have begun the line.
            if let Some((_, port)) = line.expect("UTF-8").split_once(front::READY) {
                self.port = port.trim().parse().expect("a port");
                return;
            }
        }
        panic!("the engine ended before it was ready; does {} call serve_if_asked?", self.serving_test);
    }

    fn start_debian(&mut self) {
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            if self.port == 0 {
                self.port = free_port();
            }
            self.configure(free_port());
            let log = fs::File::create(self.folder.join("log")).expect("a folder of ours");
            let child = Command::new(&self.program)
                .arg(format!("--config-file={}", self.folder.join("config.xml").display()))
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file"))
                .stderr(log)
                .spawn()
                .expect("the server that the environment names");
            self.child = Some(child);
            while started.elapsed() < START_MAX && self.is_running() {
                // There is nothing to wait for but that it answers.
                std::thread::sleep(Duration::from_millis(20));
                if self.ask("SELECT 1").is_ok_and(|answer| answer == "1") {
                    return;
                }
            }
        }
        panic!(
            "the server does not start: {}",
            fs::read_to_string(self.folder.join("log")).unwrap_or_default()
        );
    }

    fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    fn configure(&self, tcp_port: u16) {
        let folder = self.folder.display();
        let config = format!(
            "<yandex>\n<logger><level>warning</level><console>true</console></logger>\n\
             <http_port>{}</http_port><tcp_port>{tcp_port}</tcp_port><listen_host>127.0.0.1</listen_host>\n\
             <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>\n\
             <users_config>users.xml</users_config><default_profile>default</default_profile>\n\
             <default_database>default</default_database><timezone>UTC</timezone>\n\
             <mark_cache_size>67108864</mark_cache_size>\n</yandex>\n",
            self.port
        );
        let user = |name: &str, password: &str| {
            format!(
                "<{name}><password>{password}</password><networks><ip>127.0.0.1</ip></networks>\
                 <profile>default</profile><quota>default</quota></{name}>"
            )
        };
        let users = format!(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas><users>{}{}</users></yandex>\n",
            user("default", ""),
            user("headsup", Self::PASSWORD),
        );
        fs::write(self.folder.join("config.xml"), config).expect("a folder of ours");
        fs::write(self.folder.join("users.xml"), users).expect("a folder of ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    listener.local_addr().expect("it is bound").port()
}
