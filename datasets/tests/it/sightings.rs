//! Exchanges read without their content are the exchanges.

use prophecy_core::Ledger;
use prophecy_datasets::{Dataset, Sightings};

use crate::rows::{rows, write_exchanges, writer};

#[test]
fn what_is_read_of_each_part_is_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut writer, sanitizer) = writer(folder.path());
    let exchanges = rows(9, 200).exchanges;
    let mut ledger = Ledger::default();
    write_exchanges(&mut writer, &sanitizer, &exchanges, &mut ledger);
    writer.finish(&ledger).expect("finishes");
    let dataset = Dataset::open(folder.path()).expect("opens");
    assert_eq!(dataset.exchange_parts().len(), 4);
    let mut read = Sightings::default();
    for part in dataset.exchange_parts() {
        let sightings = dataset.sightings(part).expect("reads");
        let rows = read.adopt(sightings);
        read.rows.extend(rows);
    }
    let mut expected = Sightings::default();
    dataset.exchanges().expect("reads").iter().for_each(|exchange| expected.push(exchange));
    let named = |sightings: &Sightings| -> Vec<_> {
        let name = |number: u32| sightings.names[number as usize].clone();
        let row = |row: &prophecy_datasets::Sighting| {
            let names = [row.source, row.destination, row.route].map(name);
            let numbered = prophecy_datasets::Sighting {
                source: 0,
                destination: 0,
                route: 0,
                server: 0,
                ..*row
            };
            (names, sightings.servers[row.server as usize], numbered)
        };
        sightings.rows.iter().map(row).collect()
    };
    assert_eq!(named(&read), named(&expected));
}
