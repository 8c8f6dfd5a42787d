//! Who is let in: how many at once, in all, from one address, under one name.
//!
//! Counted are sessions; connections are as well, more generously, since somebody who polls needs several; but never more
//! than there are descriptors for: with none left the supervisor could not ask how this server is. What is
//! counted is given back when its [`Ticket`] or [`Pass`] is dropped, so the counts cannot drift. IPv6 addresses count by
//! their /64: that is what one subscriber has.

use super::{
    debts::{Debts, Left, Missing},
    ebb,
    link::lock,
    pace::{self, Pace},
    source::contains,
    stats::{Stats, Traffic},
};
use crate::{
    chat::{Given, Identity},
    config::{Limits, RefusedBy},
    slack::give_back,
};
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::sync::Notify;

/// Connections for each session that is allowed: two polling requests, the upgrade, and one that is just ending.
const CONNECTIONS: usize = 4;
/// And some that are no client's: pages, probes.
const MORE: usize = 16;
/// Descriptors that are not for clients: the journal's, the runtime's, the supervisor's.
const ITS_OWN: usize = 100;

/// See the module.
pub(super) struct Doors {
    limits: Limits,
    /// Connections there are descriptors for.
    descriptors: usize,
    exempt: Vec<IpNet>,
    /// Names are what tokens say, not what anybody does.
    proven: bool,
    stats: Arc<Stats>,
    inside: Mutex<Inside>,
    debts: Mutex<Debts<IpAddr>>,
    /// Told when a crowd has left.
    ebbed: Notify,
}

#[derive(Default)]
struct Inside {
    sessions: usize,
    connections: usize,
    of_address: HashMap<IpAddr, usize>,
    connections_of: HashMap<IpAddr, usize>,
    under_name: HashMap<Arc<str>, usize>,
    most: ebb::Mark,
}

impl Inside {
    fn all(&self) -> usize {
        self.sessions + self.connections
    }

    fn add_session(&mut self, address: IpAddr, name: Option<&Arc<str>>) {
        self.sessions += 1;
        add(&mut self.of_address, address);
        name.into_iter().for_each(|name| add(&mut self.under_name, name.clone()));
        self.most.rise(self.all());
    }

    fn add_connection(&mut self, address: IpAddr) {
        self.connections += 1;
        add(&mut self.connections_of, address);
        self.most.rise(self.all());
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// `max_connections`.
    #[error("the server is full: {0} clients are connected")]
    All(usize),
    /// `max_connections_per_address`.
    #[error("too many connections from your address: {0} are open")]
    Address(usize),
    /// `max_connections_per_name`.
    #[error("too many connections under this name: {0} are open")]
    Name(usize),
}

impl Full {
    /// The key of `[limits]`.
    pub(super) fn limit(self) -> RefusedBy {
        match self {
            Self::All(_) => RefusedBy::MaxConnections,
            Self::Address(_) => RefusedBy::MaxConnectionsPerAddress,
            Self::Name(_) => RefusedBy::MaxConnectionsPerName,
        }
    }
}

/// One session that was let in, and how fast it may be.
pub(super) struct Ticket {
    doors: Arc<Doors>,
    address: IpAddr,
    /// The address is not its own.
    exempt: bool,
    name: Mutex<Option<Arc<str>>>,
    pub(super) pace: Pace,
}

/// One connection that was accepted.
pub(super) struct Pass {
    /// By which it came in.
    pub(super) doors: Arc<Doors>,
    address: IpAddr,
}

impl Doors {
    /// Nobody is inside yet.
    pub(super) fn new(limits: Limits, exempt: Vec<IpNet>, proven: bool, stats: Arc<Stats>) -> Arc<Self> {
        let debts = Mutex::new(Debts::new(limits.messages, pace::of_frames(limits.messages)));
        let descriptors = for_clients(getrlimit(Resource::Nofile).current);
        let (inside, ebbed) = Default::default();
        Arc::new(Self { limits, descriptors, exempt, proven, stats, inside, debts, ebbed })
    }

    /// Lets a session in.
    ///
    /// # Errors
    /// There are as many as there may be. It is counted.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, identity: &Identity) -> Result<Ticket, Full> {
        let name = self.counted_name(identity);
        let exempt = !self.counts(address);
        let (key, limits) = (key(address), &self.limits);
        let full = {
            let mut inside = lock(&self.inside);
            let named = name.as_ref().and_then(|name| inside.under_name.get(name)).copied().unwrap_or(0);
            let per_address = if exempt { 0 } else { limits.max_connections_per_address };
            if reached(inside.sessions, limits.max_connections) {
                Some(Full::All(inside.sessions))
            } else if reached(of(&inside.of_address, &key), per_address) {
                Some(Full::Address(of(&inside.of_address, &key)))
            } else if reached(named, limits.max_connections_per_name) {
                Some(Full::Name(named))
            } else {
                inside.add_session(key, name.as_ref());
                None
            }
        };
        match full {
            Some(full) => {
                self.turn_away(full.limit());
                Err(full)
            }
            None => {
                let now = Instant::now();
                let left = if exempt { Left::default() } else { lock(&self.debts).of(&key, now) };
                let pace = Pace::new(limits.messages, left, now);
                Ok(Ticket { doors: self.clone(), address: key, exempt, name: Mutex::new(name), pace })
            }
        }
    }

    /// Counts a session that was let in by another process, where so much was missing.
    pub(super) fn board(
        self: &Arc<Self>,
        address: IpAddr,
        name: Option<&Arc<str>>,
        missing: Option<Missing>,
    ) -> Ticket {
        let (exempt, address) = (!self.counts(address), key(address));
        let name = name.filter(|_| self.limits.max_connections_per_name > 0).cloned();
        lock(&self.inside).add_session(address, name.as_ref());
        let now = Instant::now();
        let left = missing.map_or_else(Left::default, |missing| missing.left(now));
        let pace = Pace::new(self.limits.messages, left, now);
        Ticket { doors: self.clone(), address, exempt, name: Mutex::new(name), pace }
    }

    /// What is owed by whom, for another process.
    pub(super) fn debts(&self) -> Vec<(IpAddr, Missing)> {
        lock(&self.debts).all(Instant::now())
    }

    /// Takes note of what is owed, as another process knew it.
    pub(super) fn note(&self, owed: &[(IpAddr, Missing)]) {
        let (mut debts, now) = (lock(&self.debts), Instant::now());
        owed.iter().for_each(|(address, missing)| debts.note(*address, missing.left(now), now));
    }

    /// Counts a connection that was accepted by another process.
    pub(super) fn carry_on(self: &Arc<Self>, peer: IpAddr) -> Pass {
        let address = key(peer);
        lock(&self.inside).add_connection(address);
        Pass { doors: self.clone(), address }
    }

    /// The name it is counted under, where names are.
    fn counted_name(&self, identity: &Identity) -> Option<Arc<str>> {
        match &identity.name {
            Given::Text(name) if self.limits.max_connections_per_name > 0 && !self.proven => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    /// Accepts a connection; `counts`: its address is a client's own.
    ///
    /// # Errors
    /// There are as many as there may be. It is counted.
    pub(super) fn connect(self: &Arc<Self>, address: IpAddr, proxy: bool) -> Result<Pass, Full> {
        let (key, most) =
            (key(address), |limit: usize| if limit == 0 { 0 } else { limit * CONNECTIONS + MORE });
        let full = {
            let mut inside = lock(&self.inside);
            let own =
                if proxy || !self.counts(address) { 0 } else { self.limits.max_connections_per_address };
            if reached(inside.connections, most(self.limits.max_connections))
                || inside.connections >= self.descriptors
            {
                Some(Full::All(inside.connections))
            } else if reached(of(&inside.connections_of, &key), most(own)) {
                Some(Full::Address(of(&inside.connections_of, &key)))
            } else {
                inside.add_connection(key);
                None
            }
        };
        match full {
            Some(full) => {
                self.turn_away(full.limit());
                Err(full)
            }
            None => Ok(Pass { doors: self.clone(), address: key }),
        }
    }

    /// Counts that somebody was refused something.
    pub(super) fn turn_away(&self, by: RefusedBy) {
        self.stats.turn_away(by);
    }

    /// Bytes of all connections.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.stats.traffic
    }

    /// Waits until a crowd has left.
    pub(super) async fn ebb(&self) {
        self.ebbed.notified().await;
    }

    /// Whether it has not come back since; then this counts as all there ever were.
    pub(super) fn settle(&self) -> bool {
        let mut inside = lock(&self.inside);
        let all = inside.all();
        let has_ebbed = inside.most.has_ebbed(all);
        if has_ebbed {
            inside.most.settle(all);
        }
        has_ebbed
    }

    /// Somebody has left.
    fn left(&self, inside: &Inside) {
        if inside.most.has_ebbed(inside.all()) {
            self.ebbed.notify_one();
        }
    }

    fn counts(&self, address: IpAddr) -> bool {
        !contains(&self.exempt, address)
    }
}

impl Ticket {
    /// See [`Doors::traffic`].
    pub(super) fn traffic(&self) -> &Traffic {
        self.doors.traffic()
    }

    /// Counts the session under the name that its token proves.
    ///
    /// # Errors
    /// There are as many under it as there may be. It is counted.
    pub(super) fn call(&self, name: &Arc<str>) -> Result<(), Full> {
        let limit = self.doors.limits.max_connections_per_name;
        if limit == 0 {
            return Ok(());
        }
        let mut inside = lock(&self.doors.inside);
        let mut called = lock(&self.name);
        if called.as_ref() == Some(name) {
            return Ok(());
        }
        let count = inside.under_name.get(name).copied().unwrap_or(0);
        if count >= limit {
            self.doors.turn_away(Full::Name(count).limit());
            return Err(Full::Name(count));
        }
        called.iter().for_each(|name| less(&mut inside.under_name, name));
        add(&mut inside.under_name, name.clone());
        *called = Some(name.clone());
        Ok(())
    }

    /// Where it came from, as it is counted.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// It is made to wait, and has so much left: with that it begins should it come again.
    pub(super) fn note(&self, left: Left) {
        if !self.exempt {
            lock(&self.doors.debts).note(self.address, left, Instant::now());
        }
    }

    /// See [`Doors::turn_away`].
    pub(super) fn turn_away(&self, by: RefusedBy) {
        self.doors.turn_away(by);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = lock(&self.doors.inside);
        inside.sessions -= 1;
        less(&mut inside.of_address, &self.address);
        lock(&self.name).iter().for_each(|name| less(&mut inside.under_name, name));
        self.doors.left(&inside);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = lock(&self.doors.inside);
        inside.connections -= 1;
        less(&mut inside.connections_of, &self.address);
        self.doors.left(&inside);
    }
}

/// Under which an address is counted.
fn key(address: IpAddr) -> IpAddr {
    const SUBSCRIBER: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        address => address,
    }
}

/// How many of so many descriptors are; `None`: there is no end of them.
fn for_clients(descriptors: Option<u64>) -> usize {
    let all = descriptors.map_or(usize::MAX, |all| usize::try_from(all).unwrap_or(usize::MAX));
    all - ITS_OWN.min(all / 2)
}

fn reached(count: usize, limit: usize) -> bool {
    limit > 0 && count >= limit
}

fn of(counts: &HashMap<IpAddr, usize>, key: &IpAddr) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
            give_back(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn doors(all: usize, address: usize, name: usize) -> Arc<Doors> {
        let limits = Limits {
            max_connections: all,
            max_connections_per_address: address,
            max_connections_per_name: name,
            ..Limits::default()
        };
        Doors::new(limits, vec!["127.0.0.0/8".parse().unwrap()], false, Arc::new(Stats::new()))
    }

    fn named(name: &str) -> Identity {
        Identity { name: Given::new(name, 9), room: Given::Missing }
    }

    #[test]
    fn each_limit_is_its_own() {
        let doors = doors(5, 2, 3);
        let enter = |address: &str, name| doors.enter(address.parse().unwrap(), &named(name));
        let inside = [enter("1.1.1.1", "a"), enter("1.1.1.1", "a")];
        assert_eq!(enter("1.1.1.1", "b").err(), Some(Full::Address(2)));
        assert_eq!(enter("::ffff:1.1.1.1", "b").err(), Some(Full::Address(2)), "the same, written otherwise");
        let third = enter("2001:db8::1", "a").unwrap();
        assert_eq!(enter("127.0.0.1", "a").err(), Some(Full::Name(3)));
        let more = [enter("127.0.0.1", ""), enter("127.0.0.1", "")];
        assert!(more.iter().all(Result::is_ok), "without a name, and from an exempt address");
        assert_eq!(enter("9.9.9.9", "").err(), Some(Full::All(5)));
        drop(inside);
        let subscriber = [enter("2001:db8::2", "a"), enter("2001:db8:0:0:1::", "b")];
        assert_eq!(subscriber[1].as_ref().err(), Some(&Full::Address(2)), "one /64");
        drop((third, more, subscriber));
        let inside = lock(&doors.inside);
        assert!(inside.sessions == 0 && inside.of_address.is_empty() && inside.under_name.is_empty());
    }

    #[test]
    fn some_descriptors_are_left_for_other_things() {
        for (all, clients) in
            [(None, usize::MAX - 100), (Some(65_536), 65_436), (Some(200), 100), (Some(64), 32), (Some(0), 0)]
        {
            assert_eq!(for_clients(all), clients, "{all:?}");
        }
    }

    #[test]
    fn a_crowd_leaves_no_tables_behind() {
        let doors = doors(0, 0, 3);
        let addresses = (0..5000u32).map(|n| IpAddr::from(n.to_be_bytes()));
        let come = |address: IpAddr| {
            let session = doors.enter(address, &named(&address.to_string())).ok();
            (session, doors.connect(address, false).ok())
        };
        drop(addresses.map(come).collect::<Vec<_>>());
        let inside = lock(&doors.inside);
        let room =
            [inside.of_address.capacity(), inside.connections_of.capacity(), inside.under_name.capacity()];
        assert!(room.iter().all(|room| *room < 100), "{room:?}");
    }

    proptest! {
        /// Whoever comes and goes: never more than the limits say, and what has gone is not counted.
        #[test]
        fn counts_never_drift(steps in prop::collection::vec((0u8..4, 0u8..3, any::<bool>()), 0..200)) {
            let doors = doors(6, 3, 2);
            let mut inside: Vec<(u8, u8, Ticket)> = Vec::new();
            for (address, name, comes) in steps {
                if comes {
                    let come = doors.enter(IpAddr::from([10, 0, 0, address]), &named(&name.to_string()));
                    let of = |f: &dyn Fn(&(u8, u8, Ticket)) -> bool| inside.iter().filter(|one| f(one)).count();
                    let (same_address, same_name) = (of(&|one| one.0 == address), of(&|one| one.1 == name));
                    prop_assert_eq!(come.is_ok(), inside.len() < 6 && same_address < 3 && same_name < 2);
                    inside.extend(come.ok().map(|ticket| (address, name, ticket)));
                } else if let Some(index) = inside.iter().position(|one| one.0 == address) {
                    inside.remove(index);
                }
            }
            prop_assert_eq!(lock(&doors.inside).sessions, inside.len());
        }
    }
}
