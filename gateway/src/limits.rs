//! In charge of how much clients may take at once, all together and each: connections, requests, feeds.

use axum::http::{StatusCode, Uri};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config;
use crate::error::Error;
use crate::remote::Client;

/// Places that are taken and given back, so many in all and so many for each.
pub struct Places<K> {
    max: usize,
    max_each: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

struct Taken<K> {
    all: usize,
    each: HashMap<K, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    All,
    Each,
}

/// Given back when it is dropped.
pub struct Place<K: Eq + Hash> {
    key: Option<K>,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub fn new(max: usize, max_each: usize) -> Self {
        let taken = Arc::new(Mutex::new(Taken { all: 0, each: HashMap::new() }));
        Places { max, max_each, taken }
    }

    /// Without a key the place is counted in all only.
    pub fn take(&self, key: Option<K>) -> Result<Place<K>, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            return Err(Full::All);
        }
        if let Some(key) = &key {
            let count = taken.each.get(key).copied().unwrap_or(0);
            if count >= self.max_each {
                return Err(Full::Each);
            }
            taken.each.insert(key.clone(), count + 1);
        }
        taken.all += 1;
        Ok(Place { key, taken: Arc::clone(&self.taken) })
    }

    pub fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(key) = &self.key else { return };
        if let Some(count) = taken.each.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                taken.each.remove(key);
            }
        }
    }
}

pub struct Limits {
    pub connections: Places<IpAddr>,
    pub requests: Places<Client>,
    pub listeners: Places<Client>,
}

/// Who asks, and the place that the request has among those under way. A request that begins to wait for
/// changes gives that one up for one among the listeners.
#[derive(Clone)]
pub struct Asking {
    pub client: Client,
    place: Arc<Mutex<Option<Place<Client>>>>,
}

impl Asking {
    /// Whether it is a request under way still.
    pub fn has_place(&self) -> bool {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Limits {
    pub fn new(config: &config::Serve) -> Self {
        let limits = &config.limits;
        Limits {
            connections: Places::new(limits.connections_max, limits.connections_per_client_max),
            requests: Places::new(limits.requests_max, limits.requests_per_client_max),
            listeners: Places::new(config.longpolls_max, limits.longpolls_per_client_max),
        }
    }

    pub fn ask(&self, client: Client) -> Result<Asking, Error> {
        let place = self.requests.take(Some(client.clone())).map_err(|full| match full {
            Full::All => Error::unavailable("too many requests are under way here; try again"),
            Full::Each => Error::too_many("too many of your requests are under way; wait for them"),
        })?;
        Ok(Asking { client, place: Arc::new(Mutex::new(Some(place))) })
    }

    /// A place for a long poll or a feed, to be held as long as it is open.
    pub fn listen(&self, asking: &Asking) -> Result<Place<Client>, Error> {
        let place =
            self.listeners.take(Some(asking.client.clone())).map_err(|full| match full {
                Full::All => {
                    Error::unavailable("too many long polls and feeds are open; try again")
                }
                Full::Each => {
                    Error::too_many("too many of your long polls and feeds are open; close some")
                }
            })?;
        asking.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(place)
    }
}

/// Whether a request's head is of a size that is taken.
pub fn check_head<B>(
    limits: &config::Limits,
    request: &axum::http::Request<B>,
) -> Result<(), Error> {
    if url_bytes(request.uri()) > limits.url_bytes_max {
        let reason = format!("the URL has more than {} bytes", limits.url_bytes_max);
        return Err(Error::new(StatusCode::URI_TOO_LONG, "too_large", reason));
    }
    // Colon, space and line end are part of it on the wire.
    let headers = request.headers().iter();
    let bytes: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_bytes_max {
        let reason = format!("the headers have more than {} bytes", limits.header_bytes_max);
        return Err(Error::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", reason));
    }
    Ok(())
}

fn url_bytes(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_and_are_given_back() {
        let places = Places::new(3, 2);
        let first = places.take(Some("a")).unwrap();
        let _second = places.take(Some("a")).unwrap();
        assert_eq!(places.take(Some("a")).err(), Some(Full::Each));
        let third = places.take(Some("b")).unwrap();
        assert_eq!(places.take(Some("c")).err(), Some(Full::All));
        assert_eq!(places.take(None).err(), Some(Full::All));
        drop((first, third));
        assert_eq!(places.taken(), 1);
        let _one = places.take(Some("a")).unwrap();
        let _other = places.take(None).unwrap();
        assert_eq!(places.taken(), 3);
        let taken = places.taken.lock().unwrap();
        assert_eq!(taken.each.len(), 1, "nothing is kept of who has left");
    }

    #[test]
    fn a_listener_is_no_request_under_way() {
        let limits = Limits {
            connections: Places::new(1, 1),
            requests: Places::new(9, 1),
            listeners: Places::new(9, 1),
        };
        let client = Client::Subject("amina".into());
        let asking = limits.ask(client.clone()).unwrap();
        assert_eq!(limits.ask(client.clone()).err().map(|error| error.status.as_u16()), Some(429));
        let place = limits.listen(&asking).unwrap();
        let again = limits.ask(client).unwrap();
        assert_eq!(limits.listen(&again).err().map(|error| error.status.as_u16()), Some(429));
        drop(place);
        assert!(limits.listen(&again).is_ok());
    }
}
