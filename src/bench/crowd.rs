//! The crowd: all clients of a run, in their rooms.

use super::{
    client::{Client, Manners, Room},
    run::Run,
    talk::{Identity, Template},
};
use anyhow::{Result, bail};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Who may be on the way in at once.
const ENTERING: u32 = 64;
/// A server may take so long to let go of those who leave.
const GOODBYE: Duration = Duration::from_secs(2);
/// Where a server does not say when somebody has joined: so long is waited for all.
const UNACKNOWLEDGED: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Crowd {
    /// In the order of their numbers: each next one is in the next room.
    pub(super) clients: Vec<Rc<Client>>,
}

/// Whoever is not in yet.
struct Queue {
    run: Rc<Run>,
    next: Cell<u32>,
    count: u32,
    rooms: Vec<Rc<Room>>,
    /// One for all, where all say the same.
    message: Option<Rc<RefCell<Template>>>,
    begun: Instant,
    manners: Rc<Manners>,
    entered: RefCell<Vec<(u32, Rc<Client>)>>,
}

impl Crowd {
    /// Lets so many come in and take their places in so many rooms. `comes_back`: whether they are cut off later, and
    /// who listens to each then is for the caller to say; else each listens from now on.
    ///
    /// # Errors
    /// Nobody came in.
    pub(super) async fn gather(run: &Rc<Run>, count: u32, rooms: u32, comes_back: bool) -> Result<Self> {
        let rooms = (0..rooms.clamp(1, count)).map(|_| Rc::default()).collect();
        let queue = Rc::new(Queue {
            run: run.clone(),
            next: Cell::new(0),
            count,
            rooms,
            message: run.talk.is_same_for_all().then(|| template(run, &run.identity(0, 0))),
            begun: Instant::now(),
            manners: Rc::new(Manners { acknowledges: Cell::new(None), comes_back }),
            entered: RefCell::default(),
        });
        // The first finds out how the server is: who does not let it in lets in nobody.
        tokio::select! {
            () = run.stop.cancelled() => {}
            _ = queue.one() => {}
        }
        let mut workers = JoinSet::new();
        let is_let_in = !queue.entered.borrow().is_empty();
        for _ in 0..if is_let_in { ENTERING } else { 0 } {
            let queue = queue.clone();
            workers.spawn_local(async move { while queue.one().await {} });
        }
        tokio::select! {
            () = run.stop.cancelled() => workers.shutdown().await,
            _ = async { while workers.join_next().await.is_some() {} } => {}
        }
        if queue.manners.acknowledges.get() == Some(false) {
            run.pause(UNACKNOWLEDGED, |_| "joining".to_owned()).await;
        }
        let mut entered = queue.entered.take();
        entered.sort_by_key(|(number, _)| *number);
        if entered.is_empty() {
            let tally = run.tally.borrow();
            bail!("{}", tally.troubles.keys().next().map_or("nobody came in", String::as_str));
        }
        Ok(Self { clients: entered.into_iter().map(|(_, client)| client).collect() })
    }

    /// Says goodbye, so that the server need not keep a place for those who do not come back.
    pub(super) async fn leave(self, run: &Run) {
        run.leaves.set(true);
        self.clients.iter().for_each(|client| client.leave());
        let gone = || {
            let tally = run.tally.borrow();
            tally.left + tally.lost >= self.clients.len() as u64
        };
        run.until(GOODBYE, gone, |_| "saying goodbye".to_owned()).await;
    }
}

fn template(run: &Run, who: &Identity) -> Rc<RefCell<Template>> {
    Rc::new(RefCell::new(run.talk.message(who)))
}

impl Queue {
    /// Lets the next one in; whether there was one.
    async fn one(&self) -> bool {
        let number = self.next.get();
        if number >= self.count {
            return false;
        }
        self.next.set(number + 1);
        let run = &self.run;
        if let Some(rate) = run.against.connect_rate {
            tokio::time::sleep_until((self.begun + Duration::from_secs_f64(f64::from(number) / rate)).into())
                .await;
        }
        let room = number as usize % self.rooms.len();
        let who = run.identity(number, room);
        let template = self.message.clone().unwrap_or_else(|| template(run, &who));
        let (room, manners) = (self.rooms[room].clone(), self.manners.clone());
        match Client::enter(run, number, who, room, template, manners).await {
            Ok(client) => {
                if !self.manners.comes_back {
                    tokio::task::spawn_local(client.clone().stay());
                }
                let mut entered = self.entered.borrow_mut();
                entered.push((number, client));
                run.show(format_args!("connected: {} of {}", entered.len(), self.count));
            }
            Err(why) => run.tally.borrow_mut().trouble(format_args!("{why:#}")),
        }
        true
    }
}
