//! SIPVicious: looks for devices (svmap), their users (svwar) and passwords (svcrack).

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Process, eventually, need};

/// The longest run: its own limits end it before.
const LONGEST: Duration = Duration::from_secs(90);

/// Somebody who tries, from an address of the loopback.
#[derive(Debug, Clone, Copy)]
pub struct Attacker(pub std::net::Ipv4Addr);

impl Attacker {
    /// What answers at an address, and what it says it is.
    ///
    /// # Errors
    /// The program is missing or does not end.
    pub fn map(self, target: SocketAddr, method: &str) -> Result<Vec<(String, String)>> {
        self.run("svmap", target, &["-m", method])
    }

    /// Users that are told apart from others, among the numbers of a range.
    ///
    /// # Errors
    /// The program is missing or does not end.
    pub fn users(self, target: SocketAddr, method: &str, range: &str) -> Result<Vec<(String, String)>> {
        self.run("svwar", target, &["--force", "-m", method, "-e", range])
    }

    /// A user and the password that was found for it, of a list.
    ///
    /// # Errors
    /// The program is missing or does not end.
    pub fn password(self, target: SocketAddr, user: &str, words: &[String]) -> Result<Vec<(String, String)>> {
        let folder = tempfile::tempdir()?;
        let list = folder.path().join("words");
        std::fs::write(&list, words.join("\n") + "\n")?;
        let list = list.display().to_string();
        self.run("svcrack", target, &["-u", user, "-d", &list, "-t", "0.05"])
    }

    /// The rows of the table that it prints.
    fn run(self, program: &str, target: SocketAddr, more: &[&str]) -> Result<Vec<(String, String)>> {
        let path = need(program, "sipvicious")?;
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let out = std::fs::File::create(&log)?;
        let own_port = UdpSocket::bind((self.0, 0))?.local_addr()?.port().to_string();
        let own = self.0.to_string();
        let child = Command::new(path)
            .args(["-b", &own, "-x", &own, "-P", &own_port, "-p", &target.port().to_string()])
            .args(more)
            .arg(target.ip().to_string())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let mut process = Process(child);
        let printed = || std::fs::read_to_string(&log).unwrap_or_default();
        eventually(LONGEST, || match process.0.try_wait()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(anyhow::anyhow!("{program} ended with {status}:\n{}", printed())),
            None => bail!("{program} still runs:\n{}", printed()),
        })?;
        let printed = printed();
        anyhow::ensure!(!printed.contains("Traceback"), "{program} broke down:\n{printed}");
        Ok(rows(&printed))
    }
}

/// Rows of a table with two columns, but for its head.
fn rows(printed: &str) -> Vec<(String, String)> {
    let cells = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().to_owned());
        Some((cells.next()?, cells.next()?))
    };
    printed.lines().filter_map(cells).skip(1).collect()
}

/// Stands between svcrack and a server: svcrack 0.3.3 breaks down on a challenge for SHA-256, so these are taken out
/// and it goes on with MD5. Counts how guesses are answered.
pub struct Helper {
    /// Where svcrack is to send to.
    pub address: SocketAddr,
    answers: Arc<Mutex<BTreeMap<u16, u32>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// For one attacker, in whose address it speaks.
    ///
    /// # Errors
    /// There is no socket.
    pub fn new(attacker: Attacker, server: SocketAddr) -> Result<Self> {
        let (front, back) = (UdpSocket::bind((attacker.0, 0))?, UdpSocket::bind((attacker.0, 0))?);
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        }
        back.connect(server)?;
        let address = front.local_addr()?;
        let (answers, over) = (Arc::<Mutex<BTreeMap<u16, u32>>>::default(), Arc::<AtomicBool>::default());
        let (counts, stop) = (answers.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0u8; 8_192];
            let mut client = None;
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = front.recv_from(&mut buffer) {
                    client = Some(from);
                    let _ = back.send(buffer.get(..length).unwrap_or_default());
                }
                while let (Ok(length), Some(client)) = (back.recv(&mut buffer), client) {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    if let Some(status) = guess_answered(&text) {
                        *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
                    }
                    let _ = front.send_to(without_sha256(&text).as_bytes(), client);
                }
            }
        });
        Ok(Self { address, answers, over, thread: Some(thread) })
    }

    /// How many guesses were answered so.
    pub fn answered(&self, status: u16) -> u32 {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&status).copied().unwrap_or(0)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The status of the answer to a guess, which svcrack sends with the CSeq 2.
fn guess_answered(text: &str) -> Option<u16> {
    let status = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    text.lines().any(|line| line.starts_with("CSeq: 2 ")).then_some(status)
}

fn without_sha256(text: &str) -> String {
    text.split_inclusive("\r\n").filter(|line| !line.contains("algorithm=SHA-256")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_stronger_challenges_left_out() {
        let table = "WARNING:x\n+---+\n| Extension | Authentication |\n+===+\n| 120       | reqauth        |\n+---+\n";
        assert_eq!(rows(table), [("120".to_owned(), "reqauth".to_owned())]);
        assert!(rows("WARNING:root:found nothing\n").is_empty());
        let answer = "SIP/2.0 401 Unauthorized\r\nCSeq: 2 REGISTER\r\nWWW-Authenticate: Digest algorithm=SHA-256\r\n\
                      WWW-Authenticate: Digest algorithm=MD5\r\n\r\n";
        assert_eq!(guess_answered(answer), Some(401));
        assert_eq!(guess_answered(&answer.replace("CSeq: 2", "CSeq: 1")), None);
        assert!(!without_sha256(answer).contains("SHA-256") && without_sha256(answer).contains("MD5\r\n\r\n"));
    }
}
