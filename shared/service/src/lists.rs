//! Lists that are kept in several partitions, read as one.

use futures::future::try_join_all;
use hotline_base::{IndexRow, Name, TenantId, shards};
use hotline_ports::{Fault, Range};
use hotline_routing::agent::available_partition;
use hotline_routing::waiting::waiting_partition;

use crate::{Service, ServiceError, setting};

/// A range of a list in so many parts, in the order of its sort keys as if it were one partition.
/// Of a row that stands in a part and, from before the list was split, in the whole, the part counts.
///
/// # Errors
/// A fault of the store.
pub async fn rows(service: &Service, parts: u8, range: Range<'_>) -> Result<Vec<IndexRow>, Fault> {
    let store = &service.ports.store;
    if parts <= 1 {
        return store.rows(range).await;
    }
    let names = shards(range.partition, parts);
    let reads = names.iter().map(|partition| store.rows(Range { partition, ..range.clone() }));
    let pages = try_join_all(reads).await?;
    let mut all: Vec<IndexRow> = Vec::with_capacity(pages.iter().map(Vec::len).sum());
    pages.into_iter().for_each(|page| all.extend(page));
    // Sorting is stable: the whole comes last.
    match range.descending {
        true => all.sort_by(|a, b| b.sort.cmp(&a.sort)),
        false => all.sort_by(|a, b| a.sort.cmp(&b.sort)),
    }
    all.dedup_by(|later, first| later.sort == first.sort);
    all.truncate(range.limit);
    Ok(all)
}

/// A range of a queue's waiting contacts or free agents; `range.partition` is the whole list.
///
/// # Errors
/// Faults of the store.
pub async fn of_queue(service: &Service, queue: &Name, range: Range<'_>) -> Result<Vec<IndexRow>, ServiceError> {
    let parts = setting::queue(service, range.tenant, queue).await?.shards;
    Ok(rows(service, parts, range).await?)
}

/// The first waiting contacts of a queue.
///
/// # Errors
/// Faults of the store.
pub async fn waiting(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
    limit: usize,
) -> Result<Vec<IndexRow>, ServiceError> {
    let partition = waiting_partition(queue);
    let range = Range { tenant, partition: &partition, from: None, below: None, limit, descending: false };
    of_queue(service, queue, range).await
}

/// The first free agents of a queue.
///
/// # Errors
/// Faults of the store.
pub async fn available(
    service: &Service,
    tenant: TenantId,
    queue: &Name,
    limit: usize,
) -> Result<Vec<IndexRow>, ServiceError> {
    let partition = available_partition(queue);
    let range = Range { tenant, partition: &partition, from: None, below: None, limit, descending: false };
    of_queue(service, queue, range).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use hotline_base::{Timestamp, shard};
    use hotline_ports::memory::Memory;

    const TENANT: TenantId = TenantId::from_u128(1);

    fn put(service: &Service, partition: String, n: u128, body: &str) {
        let row = IndexRow { partition, sort: format!("{n:04}"), body: body.into() };
        block_on(service.ports.store.put_row(TENANT, row, None)).unwrap();
    }

    #[test]
    fn parts_are_read_as_one_list_with_what_was_there_before_the_split() {
        let service = Service::new(Memory::new(Timestamp::from_millis(1_795_000_000_000), 1).ports());
        for n in 0..40 {
            put(&service, "list".into(), n * 2, "old");
        }
        for n in 0..60 {
            put(&service, shard("list", 4, n), n, "new");
        }
        let read = |from: Option<&str>, limit, descending| {
            let range = Range { tenant: TENANT, partition: "list", from, below: None, limit, descending };
            let rows = block_on(rows(&service, 4, range)).unwrap();
            rows.into_iter().map(|row| (row.sort, row.body)).collect::<Vec<_>>()
        };
        let all = read(None, 1_000, false);
        let wanted: Vec<u32> = (0..60).chain((60..80).step_by(2)).collect();
        assert_eq!(all.iter().map(|(sort, _)| sort.parse::<u32>().unwrap()).collect::<Vec<_>>(), wanted);
        assert!(all.iter().all(|(sort, body)| (body == "new") == (sort.as_str() < "0060")), "{all:?}");
        let mut pages = Vec::new();
        while let page @ [_, ..] =
            &read(pages.last().map(|(s, _): &(String, String)| format!("{s}\u{1}")).as_deref(), 7, false)[..]
        {
            pages.extend(page.to_vec());
        }
        assert_eq!(pages, all);
        let newest: Vec<_> = all.iter().rev().take(5).cloned().collect();
        assert_eq!(read(None, 5, true), newest);
    }
}
