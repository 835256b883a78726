'use strict';
// Authors, books and reviews over plain HTTP. The database is three milliseconds away, as one in
// another zone is: each query waits that long.

const http = require('node:http');
const crypto = require('node:crypto');
const { Pool } = require('./database.js');

const pool = new Pool(Number(process.env.DATABASE_PORT), 8);
const far = (sql) => pool.query(`WITH distance AS MATERIALIZED (SELECT pg_sleep(0.003)) ${sql}, distance`);

async function author(id) {
  const [found] = await far(`SELECT a.* FROM (SELECT * FROM authors WHERE id = ${id}) a`);
  if (!found) return null;
  const books = await far(
    `SELECT b.* FROM (SELECT b.id, b.title, count(r.id) AS reviews, round(avg(r.stars), 2) AS stars
     FROM books b LEFT JOIN reviews r ON r.book = b.id WHERE b.author = ${id}
     GROUP BY b.id ORDER BY b.id) b`);
  return { author: found, books };
}

async function book(id) {
  const [found] = await far(`SELECT b.* FROM (SELECT * FROM books WHERE id = ${id}) b`);
  if (!found) return null;
  const [stars] = await far(
    `SELECT r.* FROM (SELECT count(*) AS reviews, round(avg(stars), 2) AS stars FROM reviews
     WHERE book = ${id}) r`);
  return { book: found, ...stars };
}

const routes = { authors: author, books: book };

async function answer(request, response) {
  const [, first, id, ...more] = request.url.split('?')[0].split('/');
  let status = 200;
  let body = null;
  try {
    if (first === 'healthz') body = await pool.query('SELECT 1 AS one');
    else if (routes[first] && /^[0-9]{1,9}$/.test(id) && more.length === 0) body = await routes[first](id);
    if (body === null) status = 404;
  } catch (error) {
    console.error(error.message);
    status = 500;
  }
  response.writeHead(status, { 'content-type': 'application/json', 'x-answer': crypto.randomUUID() });
  response.end(JSON.stringify({ at: new Date().toISOString(), answer: body }));
}

function listen() {
  const server = http.createServer(answer);
  server.keepAliveTimeout = 60000;
  server.listen(Number(process.env.PORT), '127.0.0.1');
}

if (require.main === module) listen();

module.exports = { far, routes, listen };
