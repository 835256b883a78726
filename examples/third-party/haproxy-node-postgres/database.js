'use strict';
// A small client of PostgreSQL's protocol: simple queries over a few connections, first come, first
// served. (PostgreSQL documentation, "Message Formats".)

const net = require('node:net');

/** One connection: one query at a time. */
class Connection {
  constructor(port) {
    this.received = Buffer.alloc(0);
    this.current = null;
    this.socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    this.socket.on('connect', () => this.socket.write(startup()));
    this.socket.on('data', (bytes) => this.take(bytes));
    this.socket.on('error', (error) => this.end(error));
    this.socket.on('close', () => this.end(new Error('the database closed the connection')));
    this.ready = new Promise((resolve, reject) => { this.current = fresh(resolve, reject); });
  }

  query(sql) {
    return new Promise((resolve, reject) => {
      this.current = fresh(resolve, reject);
      this.socket.write(message('Q', Buffer.from(sql + '\0')));
    });
  }

  end(error) {
    this.isBroken = true;
    if (this.current) this.current.reject(error);
    this.current = null;
    this.socket.destroy();
  }

  take(bytes) {
    this.received = Buffer.concat([this.received, bytes]);
    while (this.received.length >= 5) {
      const length = 1 + this.received.readInt32BE(1);
      if (this.received.length < length) return;
      this.handle(String.fromCharCode(this.received[0]), this.received.subarray(5, length));
      this.received = this.received.subarray(length);
    }
  }

  handle(kind, body) {
    const query = this.current;
    if (!query) return;
    if (kind === 'T') query.columns = columns(body);
    if (kind === 'D') query.rows.push(row(body, query.columns));
    if (kind === 'E') query.error = new Error('the database refused: ' + body.toString().replaceAll('\0', ' '));
    if (kind === 'Z') {
      this.current = null;
      if (query.error) query.reject(query.error); else query.resolve(query.rows);
    }
  }
}

/** At most `size` connections; queries wait for one in order. */
class Pool {
  constructor(port, size) {
    Object.assign(this, { port, left: size, idle: [], waiting: [] });
  }

  async query(sql) {
    const connection = await this.take();
    try {
      await connection.ready;
      return await connection.query(sql);
    } finally {
      this.give(connection);
    }
  }

  take() {
    if (this.idle.length > 0) return this.idle.pop();
    if (this.left > 0) {
      this.left -= 1;
      return new Connection(this.port);
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  give(connection) {
    const next = this.waiting.shift();
    if (next) next(connection.isBroken ? new Connection(this.port) : connection);
    else if (connection.isBroken) this.left += 1;
    else this.idle.push(connection);
  }
}

const fresh = (resolve, reject) => ({ resolve, reject, rows: [], columns: [], error: null });

function startup() {
  const words = Buffer.from('user\0postgres\0database\0postgres\0\0');
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + words.length, 0);
  head.writeInt32BE(196608, 4); // protocol 3.0
  return Buffer.concat([head, words]);
}

function message(kind, body) {
  const head = Buffer.alloc(5);
  head.write(kind);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

function columns(body) {
  const names = [];
  for (let at = 2; names.length < body.readInt16BE(0);) {
    const end = body.indexOf(0, at);
    names.push(body.toString('utf8', at, end));
    at = end + 19; // the zero, and 18 bytes about the column's table and type
  }
  return names;
}

function row(body, names) {
  const fields = {};
  let at = 2;
  for (const name of names) {
    const length = body.readInt32BE(at);
    at += 4;
    fields[name] = length < 0 ? null : body.toString('utf8', at, at + length);
    at += Math.max(length, 0);
  }
  return fields;
}

module.exports = { Pool };
