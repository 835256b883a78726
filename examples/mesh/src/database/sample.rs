//! The tables of a sample database, and the made-up rows of a new one.

use prophecy_core::Seed;
use rusqlite::{Connection, params};

use crate::config::DatabaseConfig;
use crate::generator::Person;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY, name TEXT, email TEXT, phone TEXT, card TEXT
);
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY, sku TEXT, title TEXT, price INTEGER, stock INTEGER
);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER, item_id INTEGER, quantity INTEGER,
    state TEXT DEFAULT 'placed'
);
";
const INDEXES: [(&str, &str); 3] = [
    ("items_by_sku", "items (sku)"),
    ("orders_by_item", "orders (item_id)"),
    ("orders_by_customer", "orders (customer_id)"),
];
const KINDS: [&str; 8] =
    ["Lamp", "Chair", "Kettle", "Notebook", "Bicycle", "Tent", "Clock", "Vase"];
const COLORS: [&str; 6] = ["red", "green", "blue", "black", "white", "yellow"];
const STATES: [&str; 3] = ["placed", "sent", "delivered"];
/// One item in so many is sold out.
const SOLD_OUT_EVERY: u64 = 31;

/// Makes the tables if there are none, fills empty ones, and makes or drops the indexes.
///
/// # Errors
///
/// What SQLite says, for one if the file is not a database.
pub(super) fn prepare(
    connection: &mut Connection,
    config: &DatabaseConfig,
    seed: Seed,
) -> rusqlite::Result<()> {
    // One transaction: a service that is killed here leaves no half-filled tables.
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    let rows = config.rows;
    fill(&transaction, "customers", rows.customers, |id| insert_customer(&transaction, seed, id))?;
    fill(&transaction, "items", rows.items, |id| insert_item(&transaction, seed, id))?;
    let range = (rows.customers.max(1), rows.items.max(1));
    fill(&transaction, "orders", rows.orders, |id| insert_order(&transaction, seed, id, range))?;
    for (name, columns) in INDEXES {
        transaction.execute_batch(&if config.indexes {
            format!("CREATE INDEX IF NOT EXISTS {name} ON {columns}")
        } else {
            format!("DROP INDEX IF EXISTS {name}")
        })?;
    }
    transaction.commit()
}

fn fill(
    connection: &Connection,
    table: &str,
    count: u64,
    mut insert: impl FnMut(u64) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let is_empty = format!("SELECT NOT EXISTS (SELECT 1 FROM {table})");
    if connection.query_row(&is_empty, [], |row| row.get(0))? {
        (1..=count).try_for_each(&mut insert)?;
    }
    Ok(())
}

fn insert_customer(connection: &Connection, seed: Seed, id: u64) -> rusqlite::Result<()> {
    let person = Person::keyed(seed, &id.to_string());
    connection
        .prepare_cached("INSERT INTO customers VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![id as i64, person.name, person.email, person.phone, person.card])?;
    Ok(())
}

fn insert_item(connection: &Connection, seed: Seed, id: u64) -> rusqlite::Result<()> {
    let mut stream = seed.stream(0, id, "item");
    let color = COLORS[stream.below(COLORS.len())];
    let title = format!("{} {}", KINDS[stream.below(KINDS.len())], color);
    let price = 499 + stream.below(400) as i64 * 50;
    let is_sold_out = id.is_multiple_of(SOLD_OUT_EVERY);
    let stock = if is_sold_out { 0 } else { 1 + stream.below(500) as i64 };
    connection
        .prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![id as i64, format!("SKU-{id:05}"), title, price, stock])?;
    Ok(())
}

fn insert_order(
    connection: &Connection,
    seed: Seed,
    id: u64,
    (customers, items): (u64, u64),
) -> rusqlite::Result<()> {
    let mut stream = seed.stream(0, id, "order");
    let customer = 1 + stream.below(customers as usize) as i64;
    let item = 1 + stream.below(items as usize) as i64;
    let quantity = 1 + stream.below(3) as i64;
    let state = STATES[stream.below(STATES.len())];
    connection
        .prepare_cached("INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![id as i64, customer, item, quantity, state])?;
    Ok(())
}
