//! Files that a server reads again by itself, without a restart: it is told when they change.

use super::{child, machine::Class, unit::Unit, version::Version};
use std::path::PathBuf;

impl Version {
    /// The files that its server reads again when it gets SIGHUP.
    pub(super) fn reread(&self) -> Vec<PathBuf> {
        if self.app.command.is_some() {
            return Vec::new();
        }
        let certificate = self.app.tls.iter().flat_map(|tls| [tls.cert.clone(), tls.key.clone()]);
        certificate.chain(self.server.auth.keys.clone()).collect()
    }
}

impl Unit {
    /// Tells its servers that such a file has changed. One that is not ready yet is told when it is: it may have read
    /// the file just before.
    pub(super) fn reread(&mut self, what: String) {
        for child in self.children.values_mut().filter(|child| !child.version.reread().is_empty()) {
            match child.ready {
                Some(_) => child::hang_up(child.pid),
                None => child.outdated = true,
            }
        }
        self.tell("told to read again", Some(format!("{what} changed")), Some(Class::File));
    }
}
