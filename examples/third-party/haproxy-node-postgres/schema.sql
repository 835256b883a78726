CREATE TABLE authors (id integer PRIMARY KEY, name text, email text);

CREATE TABLE books (id integer PRIMARY KEY, author integer, title text);

CREATE TABLE reviews (id integer PRIMARY KEY, book integer, stars integer, words text);

INSERT INTO authors SELECT n, 'Author ' || n, 'author' || n || '@example.org' FROM generate_series(1, 500) n;

INSERT INTO books SELECT n, 1 + n % 500, 'Book ' || n FROM generate_series(1, 10000) n;

INSERT INTO reviews SELECT n, 1 + n * 7919 % 10000, 1 + n % 5, 'It was all right.' FROM generate_series(1, 100000) n;

CREATE INDEX books_by_author ON books (author);

CREATE INDEX reviews_by_book ON reviews (book);

ANALYZE;

