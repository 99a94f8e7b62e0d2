//! Peppers and root keys: the secrets from which all others are recognised or derived.
//!
//! Owns their files and every HMAC of a credential. A file has a line a key, its name and 64 hexadecimal digits; the last
//! line makes new credentials, the others go on recognising those that they made until they are taken out. Invariants: they
//! stand in files for their owner alone, or in systemd's credentials, and never in the database; none is written over.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret_file::{self, SecretError};

/// Name of the file with the peppers of all verifiers, in the data directory.
pub const PEPPER_FILE: &str = "pepper";
/// Name of the file with the root keys from which secrets are derived, there.
pub const ROOT_KEY_FILE: &str = "root.key";
/// The same as systemd's credentials (systemd.exec(5), `LoadCredential=`).
pub const PEPPER_CREDENTIAL: &str = "faam.pepper";
/// See [`PEPPER_CREDENTIAL`].
pub const ROOT_KEY_CREDENTIAL: &str = "faam.root-key";
/// Where systemd puts them.
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Bytes of an HMAC-SHA256, and of the keys that we make.
pub const MAC_BYTES: usize = 32;
/// Keys in one file.
const KEYS_MAX: usize = 16;
/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 16;
/// Name of the first key, and of one that stands in its file without a name.
const FIRST_NAME: &str = "1";

/// What a key is told apart by from others of its name.
const FINGERPRINT: &[u8] = b"faam fingerprint\0";
/// Bytes of that.
const FINGERPRINT_BYTES: usize = 4;

/// Which key of its file, from the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootIndex(usize);

/// HMAC-SHA256 under one key.
#[derive(Clone)]
pub struct KeyedMac(Hmac<Sha256>);

impl KeyedMac {
    /// Under a key of any length (RFC 2104, 2).
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        // Keys beyond a block are hashed first: the same as the standard has it.
        let mut block = [0; 64];
        match block.get_mut(..key.len()) {
            Some(head) => head.copy_from_slice(key),
            None => {
                let digest: [u8; MAC_BYTES] = <Sha256 as sha2::Digest>::digest(key).into();
                let (head, _) = block.split_at_mut(MAC_BYTES);
                head.copy_from_slice(&digest);
            }
        }
        Self(<Hmac<Sha256> as KeyInit>::new(&block.into()))
    }

    /// Of the parts, one after the other.
    #[must_use]
    pub fn of(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        #[cfg(test)]
        work::count();
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// One key. Records name it by its name in the file and four bytes that it makes of nothing, so that another key under the
/// same name is not taken for it.
struct Root {
    name: String,
    /// As records have it.
    id: String,
    mac: KeyedMac,
}

impl Root {
    fn new(name: &str, key: &[u8]) -> Self {
        let mac = KeyedMac::new(key);
        let print = mac.of(&[FINGERPRINT]);
        let (print, _) = print.split_at(FINGERPRINT_BYTES);
        Self {
            id: format!("{name}.{}", hex(print)),
            name: name.to_owned(),
            mac,
        }
    }
}

/// The keys of one file, the oldest first; at least one.
pub struct Roots {
    older: Vec<Root>,
    newest: Root,
}

/// Both files.
pub struct Keyring {
    /// What verifiers are made with.
    pub peppers: Roots,
    /// What secrets are derived from.
    pub roots: Roots,
}

impl Keyring {
    /// Those of `data_dir`, made where they are not there; `credentials_dir`'s come first.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn open(data_dir: &Path, credentials_dir: Option<&Path>) -> Result<Self, SecretError> {
        let open = |credential: &str, file: &str| {
            let given = credentials_dir.map(|dir| dir.join(credential));
            if let Some(path) = given
                && let Some(roots) = Roots::read(&path)?
            {
                return Ok(roots);
            }
            Roots::open(&data_dir.join(file))
        };
        Ok(Self {
            peppers: open(PEPPER_CREDENTIAL, PEPPER_FILE)?,
            roots: open(ROOT_KEY_CREDENTIAL, ROOT_KEY_FILE)?,
        })
    }

    /// Where systemd has put credentials of this process, if it has.
    #[must_use]
    pub fn credentials_dir() -> Option<PathBuf> {
        std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from)
    }
}

impl Roots {
    fn open(path: &Path) -> Result<Self, SecretError> {
        if let Some(roots) = Self::read(path)? {
            return Ok(roots);
        }
        let mut key = [0; MAC_BYTES];
        getrandom::fill(&mut key)?;
        secret_file::write(path, &format!("{FIRST_NAME} {}", hex(&key)))?;
        Ok(Self {
            older: Vec::new(),
            newest: Root::new(FIRST_NAME, &key),
        })
    }

    fn read(path: &Path) -> Result<Option<Self>, SecretError> {
        let Some(text) = secret_file::read(path)? else {
            return Ok(None);
        };
        let roots = Self::parse(&text).ok_or_else(|| SecretError::Content {
            path: path.to_owned(),
            expected: "lines with a name (1 to 16 letters or digits, each once) and 64 hexadecimal digits, 1 to 16 of them",
            mend: "put it back from a backup: with another key no credential made with it is recognised",
        })?;
        Ok(Some(roots))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut keys: Vec<Root> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let (name, digits) = match (words.next()?, words.next(), words.next()) {
                (digits, None, None) => (FIRST_NAME, digits),
                (name, Some(digits), None) => (name, digits),
                _ => return None,
            };
            let named = (1..=NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && keys.iter().all(|other| other.name != name);
            if !named || keys.len() == KEYS_MAX {
                return None;
            }
            keys.push(Root::new(name, &unhex(digits)?));
        }
        let newest = keys.pop()?;
        Some(Self {
            older: keys,
            newest,
        })
    }

    /// The one that makes new credentials: how records name it, and itself.
    #[must_use]
    pub fn newest(&self) -> (&str, &KeyedMac) {
        (&self.newest.id, &self.newest.mac)
    }

    /// The one that records name so.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<RootIndex> {
        let mut ids = self.all().map(|root| root.id.as_str());
        ids.position(|other| other == id).map(RootIndex)
    }

    /// The key at `index`, else the newest, so that work is the same for what is not known.
    #[must_use]
    pub fn get(&self, index: Option<RootIndex>) -> &KeyedMac {
        let found = index.and_then(|RootIndex(index)| self.older.get(index));
        &found.unwrap_or(&self.newest).mac
    }

    /// Where [`Roots::get`] finds it.
    #[must_use]
    pub fn place(&self, index: Option<RootIndex>) -> usize {
        let last = self.older.len();
        index.map_or(last, |RootIndex(index)| index.min(last))
    }

    /// What recognises `parts` under each, the oldest first.
    #[must_use]
    pub fn macs(&self, parts: &[&[u8]]) -> Vec<[u8; MAC_BYTES]> {
        self.all().map(|root| root.mac.of(parts)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Root> {
        self.older.iter().chain([&self.newest])
    }
}

/// Small hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // By hand: the formatter takes longer for them than SHA-256 for what they stand for.
        text.push(small_digit(byte >> 4));
        text.push(small_digit(byte & 0xf));
    }
    text
}

/// Of a number below 16.
fn small_digit(number: u8) -> char {
    let from = if number < 10 { b'0' } else { b'a' - 10 };
    char::from(from + number)
}

/// The number that a digit is, of either case.
const fn of_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The 32 bytes that 64 hexadecimal digits say.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; MAC_BYTES]> {
    let mut out = [0; MAC_BYTES];
    if text.len() != 2 * MAC_BYTES {
        return None;
    }
    let (pairs, _) = text.as_bytes().as_chunks();
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = of_digit(*high)? << 4 | of_digit(*low)?;
    }
    Some(out)
}

/// How many HMACs this thread has made: what a test compares in place of time.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local! {
        static MACS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        MACS.with(|macs| macs.set(macs.get() + 1));
    }

    /// Made while `run` ran.
    pub(crate) fn of<T>(run: impl FnOnce() -> T) -> (T, u64) {
        let before = MACS.with(Cell::get);
        let value = run();
        (value, MACS.with(Cell::get) - before)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn macs_are_the_standards() {
        // RFC 4231, 4.3 (a short key) and 4.7 (one that is longer than a block).
        assert_eq!(
            hex(&KeyedMac::new(b"Jefe").of(&[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&KeyedMac::new(&[0xaa; 131])
                .of(&[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn files_are_made_once_for_their_owner_and_older_keys_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Keyring::open(dir.path(), None).expect("made");
        let again = Keyring::open(dir.path(), None).expect("read");
        let mac = |keyring: &Keyring, root| keyring.peppers.get(root).of(&[b"x"]);
        assert_eq!(mac(&first, None), mac(&again, None));
        for file in [PEPPER_FILE, ROOT_KEY_FILE] {
            let mode = fs::metadata(dir.path().join(file)).expect("there");
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{file}");
        }
        let path = dir.path().join(PEPPER_FILE);
        let old = fs::read_to_string(&path).expect("text");
        fs::write(&path, format!("{old}2024b {}\n", "ab".repeat(32))).expect("written");
        let rotated = Keyring::open(dir.path(), None).expect("read");
        assert!(rotated.peppers.newest().0.starts_with("2024b."));
        assert_ne!(mac(&rotated, None), mac(&first, None));
        let of_first = rotated.peppers.find(first.peppers.newest().0);
        assert_eq!(mac(&rotated, of_first), mac(&first, None));
        // Another key of the same name is another key.
        fs::write(&path, format!("1 {}\n", "ab".repeat(32))).expect("written");
        let other = Keyring::open(dir.path(), None).expect("read");
        assert_eq!(other.peppers.find(first.peppers.newest().0), None);
    }

    #[test]
    fn systemds_credentials_come_first_and_a_file_of_one_line_is_the_first_key() {
        let (data, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(given.path().join(PEPPER_CREDENTIAL), "cd".repeat(32)).expect("written");
        let keyring = Keyring::open(data.path(), Some(given.path())).expect("read");
        assert!(keyring.peppers.newest().0.starts_with("1."));
        let expected = KeyedMac::new(&[0xcd; 32]).of(&[b"x"]);
        assert_eq!(keyring.peppers.get(None).of(&[b"x"]), expected);
        assert!(!data.path().join(PEPPER_FILE).exists());
        // What is not given is the data directory's.
        assert!(data.path().join(ROOT_KEY_FILE).exists());
    }

    #[test]
    fn a_damaged_file_is_named_and_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(PEPPER_FILE);
        let key = "ab".repeat(32);
        for damaged in [
            "zz".to_owned(),
            String::new(),
            format!("1 {key}\n1 {key}"),
            format!("a-b {key}"),
            format!("1 {key} x"),
            format!("1 +{}", &key[1..]),
        ] {
            fs::write(&path, &damaged).expect("written");
            let error = Keyring::open(dir.path(), None).err().expect("damaged");
            assert!(error.to_string().contains("pepper"), "{damaged}: {error}");
            assert_eq!(fs::read_to_string(&path).expect("there"), damaged);
        }
    }

    #[test]
    fn digits_are_the_formatters_and_come_back_in_either_case() {
        let bytes: [u8; 256] = std::array::from_fn(|byte| u8::try_from(byte).expect("a byte"));
        let formatted: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(&bytes), formatted);
        for of in bytes.chunks(MAC_BYTES) {
            let text = hex(of);
            assert_eq!(unhex(&text).as_ref().map(|bytes| &bytes[..]), Some(of));
            assert_eq!(unhex(&text.to_uppercase()), unhex(&text));
        }
        for foreign in (0..=u8::MAX).filter(|byte| !byte.is_ascii_hexdigit()) {
            let mut text = vec![b'0'; 2 * MAC_BYTES];
            for at in [0, 1, 2 * MAC_BYTES - 1] {
                text[at] = foreign;
                let said = String::from_utf8_lossy(&text);
                assert_eq!(unhex(&said), None, "{foreign}");
                text[at] = b'0';
            }
        }
        assert_eq!(unhex("00"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text: String) {
            let _ = Roots::parse(&text);
            let _ = unhex(&text);
        }
    }
}
