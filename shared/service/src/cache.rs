//! What a process remembers of configuration: short-lived documents, immutable flow versions.

use hotline_base::{Name, NodeId, TenantId, Timestamp};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::setting::Pinned;

/// A document is read again after this, milliseconds.
const DOCUMENT_MS: i64 = 5_000;
/// Documents remembered; all are forgotten beyond it.
const MAX_DOCUMENTS: usize = 5_000;
/// Pairs of node and tenant remembered; all are forgotten beyond it.
const MAX_SERVED: usize = 10_000;
/// Flow versions remembered; all are forgotten beyond it.
const MAX_FLOWS: usize = 200;

/// Tenant, kind and name.
pub(crate) type DocumentPlace = (TenantId, &'static str, String);
/// A document's content, of the type that it is read as.
type Content = Arc<dyn Any + Send + Sync>;
type FlowPlace = (TenantId, Name, u32);

#[derive(Default)]
struct Inner {
    documents: BTreeMap<DocumentPlace, (Timestamp, Content)>,
    flows: BTreeMap<FlowPlace, Arc<Pinned>>,
    served: BTreeSet<(NodeId, TenantId)>,
    looked: BTreeMap<(TenantId, Name), Timestamp>,
}

#[derive(Default)]
pub(crate) struct Cache(Mutex<Inner>);

impl Cache {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn document<T: Clone + Send + Sync + 'static>(
        &self,
        place: &DocumentPlace,
        now: Timestamp,
    ) -> Option<T> {
        let inner = self.inner();
        let (until, value) = inner.documents.get(place)?;
        let value = value.downcast_ref::<T>().filter(|_| *until > now)?;
        Some(value.clone())
    }

    pub(crate) fn keep_document<T: Send + Sync + 'static>(&self, place: DocumentPlace, value: T, now: Timestamp) {
        let mut inner = self.inner();
        if inner.documents.len() >= MAX_DOCUMENTS {
            inner.documents.clear();
        }
        inner.documents.insert(place, (now.plus_ms(DOCUMENT_MS), Arc::new(value)));
    }

    pub(crate) fn forget_document(&self, place: &DocumentPlace) {
        self.inner().documents.remove(place);
    }

    pub(crate) fn flow(&self, place: &FlowPlace) -> Option<Arc<Pinned>> {
        self.inner().flows.get(place).cloned()
    }

    pub(crate) fn keep_flow(&self, place: FlowPlace, flow: Arc<Pinned>) {
        let mut inner = self.inner();
        if inner.flows.len() >= MAX_FLOWS {
            inner.flows.clear();
        }
        inner.flows.insert(place, flow);
    }

    /// Whether a queue was looked at less than `every_ms` ago; if not, it counts as looked at now.
    pub(crate) fn looked_lately(&self, queue: (TenantId, Name), now: Timestamp, every_ms: i64) -> bool {
        let mut inner = self.inner();
        if inner.looked.get(&queue).is_some_and(|at| now.since_ms(*at) < every_ms) {
            return true;
        }
        if inner.looked.len() >= MAX_DOCUMENTS {
            inner.looked.clear();
        }
        inner.looked.insert(queue, now);
        false
    }

    pub(crate) fn is_served(&self, node: NodeId, tenant: TenantId) -> bool {
        self.inner().served.contains(&(node, tenant))
    }

    pub(crate) fn keep_served(&self, node: NodeId, tenant: TenantId) {
        let mut inner = self.inner();
        if inner.served.len() >= MAX_SERVED {
            inner.served.clear();
        }
        inner.served.insert((node, tenant));
    }
}
