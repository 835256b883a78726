'use strict';
// The reviews of each book in a query of its own, one after the other.

const { far, routes, listen } = require('./api.js');

routes.authors = async (id) => {
  const [found] = await far(`SELECT a.* FROM (SELECT * FROM authors WHERE id = ${id}) a`);
  if (!found) return null;
  const books = await far(
    `SELECT b.* FROM (SELECT id, title FROM books WHERE author = ${id} ORDER BY id) b`);
  for (const book of books) {
    const [stars] = await far(
      `SELECT r.* FROM (SELECT count(*) AS reviews, round(avg(stars), 2) AS stars FROM reviews
       WHERE book = ${book.id}) r`);
    Object.assign(book, stars);
  }
  return { author: found, books };
};

listen();
