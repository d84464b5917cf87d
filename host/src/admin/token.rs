//! Token: what proves that a request comes from a process of the host's own user.
//!
//! The server makes a new one at each start and leaves it in a file that only its user can read.
//! Whoever can read the file may swap endpoints; nobody else.

use std::fmt;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Hex digits of a token: two random uuids, which hold 244 random bits from the operating system.
const DIGITS: usize = 64;

/// A secret. It is compared in constant time and never printed.
#[derive(Clone)]
pub struct Token(String);

/// Why the token could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Give `--data DIR`, or set HOME.
    #[error("no place for the admin token: neither --data nor XDG_STATE_HOME nor HOME is set")]
    NoPlace,
    /// Check the path and its rights. A client: is the host running, under the same user?
    #[error("cannot {action} {}", path.display())]
    File {
        /// `create`, `write` or `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no admin token: expected {DIGITS} hex digits, found {found} bytes", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
        /// How many bytes are in it.
        found: usize,
    },
}

impl Token {
    /// A new token that nobody can guess.
    pub fn random() -> Self {
        Self(format!(
            "{}{}",
            Uuid::new_v4().simple(),
            Uuid::new_v4().simple()
        ))
    }

    /// Reads the token that a server left in `path`.
    ///
    /// # Errors
    /// [`TokenError::File`] and [`TokenError::NoToken`] name the file.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path).map_err(|source| TokenError::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let token = text.trim();
        if token.len() != DIGITS || !token.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(TokenError::NoToken {
                path: path.to_owned(),
                found: text.len(),
            });
        }
        Ok(Self(token.to_owned()))
    }

    /// True if `other` is this token. Takes as long whether the first or the last byte differs.
    pub fn matches(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        let different = ours
            .iter()
            .zip(theirs)
            .fold(0, |different, (a, b)| black_box(different | (a ^ b)));
        // The length is no secret.
        ours.len() == theirs.len() && different == 0
    }

    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The folder of token files: `data`, else `$XDG_STATE_HOME/instar`, else `~/.local/state/instar`.
///
/// # Errors
/// [`TokenError::NoPlace`] if none of them is known.
pub fn state_dir(data: Option<&Path>) -> Result<PathBuf, TokenError> {
    // The XDG rules: a value that is empty or relative counts as not set.
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    match data {
        Some(data) => Ok(data.to_owned()),
        None => absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .map(|state| state.join("instar"))
            .ok_or(TokenError::NoPlace),
    }
}

/// The token file of the server on `port` in `dir`.
pub fn token_path(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!("admin-{port}.token"))
}

/// A token file that this process made. Dropping it removes the file.
#[derive(Debug)]
pub struct TokenFile {
    token: Token,
    path: PathBuf,
}

impl TokenFile {
    /// Makes a token and leaves it in `dir`, which is made if it is missing. Readers see the whole
    /// token or none; its mode is 0600 from the first moment. The file of an earlier server on this port
    /// is replaced: the port is ours now. Blocks.
    ///
    /// # Errors
    /// [`TokenError::File`] names the file or folder.
    pub fn create(dir: &Path, port: u16) -> Result<Self, TokenError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| TokenError::File {
                action,
                path,
                source,
            }
        };
        make_private_dir(dir).map_err(failed("create", dir))?;
        let token = Token::random();
        let path = token_path(dir, port);
        let temporary = dir.join(format!(".admin-{port}.{}", Uuid::new_v4().simple()));
        let written = write_private(&temporary, &token).map_err(failed("write", &temporary));
        let moved = written
            .and_then(|()| std::fs::rename(&temporary, &path).map_err(failed("write", &path)));
        if let Err(error) = moved {
            // The error is told; what is left is only a stray file.
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(Self { token, path })
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // A server that came after us on the same port has replaced the file by its own.
        let is_ours = Token::read(&self.path).is_ok_and(|token| self.token.matches(&token.0));
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the admin token");
        }
    }
}

#[cfg(unix)]
fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)
}

fn write_private(path: &Path, token: &Token) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    writeln!(file, "{}", token.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_the_user_can_read_the_token_and_it_goes_with_its_server() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("state");

        let file = TokenFile::create(&dir, 7078).unwrap();
        let path = dir.join("admin-7078.token");
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        assert!(Token::read(&path).unwrap().matches(&file.token().0));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);

        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_later_server_on_the_same_port_keeps_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let earlier = TokenFile::create(dir.path(), 1).unwrap();
        let later = TokenFile::create(dir.path(), 1).unwrap();
        drop(earlier);
        assert!(Token::read(later.path()).unwrap().matches(&later.token().0));
    }

    #[test]
    fn a_token_matches_only_itself() {
        let token = Token::random();
        assert_eq!(token.0.len(), DIGITS);
        assert!(token.matches(&token.0.clone()));
        assert!(!token.matches(&Token::random().0));
        assert!(!token.matches(""));
        assert!(!token.matches(&token.0[1..]));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(
            Token::read(&path)
                .unwrap_err()
                .to_string()
                .contains("cannot read")
        );
        std::fs::write(&path, "abc").unwrap();
        let error = Token::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("expected 64 hex digits, found 3 bytes"),
            "{error}"
        );
    }
}
