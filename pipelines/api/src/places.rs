//! Who is connected, and who has to go when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Places for connections. When all are taken, who comes gets that of who has asked nothing for the
/// longest time, so that only those keep a place who use it.
pub(crate) struct Places {
    max: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Without those that have to go.
    count: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Who asks nothing, in the order in which they began to.
    idle: BTreeMap<u64, Arc<Notify>>,
    turn: u64,
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    /// Its number among the idle, if it is.
    turn: Mutex<Option<u64>>,
    leave: Arc<Notify>,
}

impl Places {
    pub(crate) fn new(max: usize, per_address: usize) -> Self {
        Self { max: max.max(1), per_address, taken: Mutex::default() }
    }

    /// A place, unless the address has its share, or everybody is busy.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Place>> {
        let address = network(address);
        let mut taken = self.lock();
        if taken.by_address.get(&address).is_some_and(|&count| count >= self.per_address) {
            return None;
        }
        if taken.count >= self.max {
            let (_, leave) = taken.idle.pop_first()?;
            leave.notify_one();
            taken.count -= 1;
        }
        taken.count += 1;
        *taken.by_address.entry(address).or_default() += 1;
        let leave = Arc::new(Notify::new());
        let turn = Mutex::new(Some(taken.begin_idle(leave.clone())));
        Some(Arc::new(Place { places: self.clone(), address, turn, leave }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn begin_idle(&mut self, leave: Arc<Notify>) -> u64 {
        self.turn += 1;
        self.idle.insert(self.turn, leave);
        self.turn
    }
}

impl Place {
    /// A request has come: until [`Place::answered`] nobody else gets the place.
    pub(crate) fn asked(&self) {
        let mut taken = self.places.lock();
        let mut turn = self.turn();
        // Who has to go stays among those.
        if turn.is_some_and(|number| taken.idle.remove(&number).is_some()) {
            *turn = None;
        }
    }

    /// It is answered.
    pub(crate) fn answered(&self) {
        let mut taken = self.places.lock();
        let mut turn = self.turn();
        if turn.is_none() {
            *turn = Some(taken.begin_idle(self.leave.clone()));
        }
    }

    /// Until somebody else has the place.
    pub(crate) async fn lost(&self) {
        self.leave.notified().await;
    }

    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let turn = *self.turn();
        let is_lost = turn.is_some_and(|number| taken.idle.remove(&number).is_none());
        taken.count -= usize::from(!is_lost);
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// What an address counts as: who has one of IPv6 has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}
