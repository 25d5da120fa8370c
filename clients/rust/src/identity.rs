//! Names of owners, which lead an operator to the process that holds a lock.

use crate::chance::Chance;
use crate::error::Error;

/// The most bytes of a label. With the host, the process and the random part, an owner then has at most 1024 bytes.
const LABEL_MAX: usize = 512;
/// The most bytes of a host name that are used.
const HOST_MAX: usize = 255;

/// Who this client is: its label, its host, and its process.
#[derive(Debug)]
pub(crate) struct Identity {
    label: Option<String>,
    host: String,
}

impl Identity {
    pub fn new(label: Option<&str>) -> Result<Identity, Error> {
        let is_plain = |label: &str| label.chars().all(|character| character.is_ascii_graphic());
        if label.is_some_and(|label| label.is_empty() || label.len() > LABEL_MAX || !is_plain(label)) {
            return Err(Error::Invalid("a label must have 1 to 512 printable ASCII characters and no spaces"));
        }
        Ok(Identity { label: label.map(str::to_owned), host: host_name() })
    }

    /// A new owner, which nobody else has: `label/host/pid/random`, or `host/pid/random` without a label.
    pub fn new_owner(&self, chance: &Chance) -> String {
        format!("{}/{}", self.process(), chance.name())
    }

    /// The name of this client's connections, as CLIENT LIST shows it: the owner without its random part.
    pub fn process(&self) -> String {
        // The process is asked each time, because a fork gives it another number.
        let pid = std::process::id();
        match &self.label {
            Some(label) => format!("{label}/{}/{pid}", self.host),
            None => format!("{}/{pid}", self.host),
        }
    }
}

/// The name of this machine, with characters that CLIENT SETNAME does not accept left out.
fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).take(HOST_MAX).collect();
    if name.is_empty() {
        "unknown-host".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_names_its_label_its_host_and_its_process() {
        let (chance, identity) = (Chance::new(), Identity::new(Some("billing")).unwrap());
        let owner = identity.new_owner(&chance);
        let parts: Vec<&str> = owner.split('/').collect();
        assert_eq!(parts.len(), 4, "{owner}");
        assert_eq!((parts[0], parts[2]), ("billing", std::process::id().to_string().as_str()));
        assert!(!parts[1].is_empty() && parts[3].len() == 16);
        assert_ne!(owner, identity.new_owner(&chance));
        let longest = Identity::new(Some(&"l".repeat(LABEL_MAX))).unwrap();
        assert!(longest.new_owner(&chance).len() <= 1024);
    }

    #[test]
    fn labels_that_a_server_would_refuse_are_refused() {
        for label in ["", "two words", "line\n", "ü", &"l".repeat(LABEL_MAX + 1)] {
            assert!(matches!(Identity::new(Some(label)), Err(Error::Invalid(_))), "{label}");
        }
    }
}
