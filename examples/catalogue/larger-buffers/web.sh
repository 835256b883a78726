#!/bin/sh
# nginx with three pages. RATE requests a second are let through, BURST more at once.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"
mkdir -p "$DATA/pages/books"
echo '{"page": "home"}' > "$DATA/pages/index.html"
echo '{"page": "about"}' > "$DATA/pages/about"
for book in 1 2 3 4 5 6 7 8 9; do
    echo "{\"book\": $book}" > "$DATA/pages/books/$book"
done
# As root, workers would become somebody who may not enter $DATA.
user=''
[ "$(id -u)" -ne 0 ] || user='user root;'
cat > "$DATA/nginx.conf" <<EOF
$user
worker_processes 1;
daemon off;
pid $DATA/nginx.pid;
error_log $DATA/error.log;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $DATA/body;
    proxy_temp_path $DATA/proxy;
    fastcgi_temp_path $DATA/fastcgi;
    uwsgi_temp_path $DATA/uwsgi;
    scgi_temp_path $DATA/scgi;
    output_buffers $BUFFERS;
    limit_req_zone \$binary_remote_addr zone=all:1m rate=${RATE}r/s;
    server {
        listen 127.0.0.1:$PORT;
        root $DATA/pages;
        location / { limit_req zone=all burst=$BURST nodelay; }
        location = /healthz { return 200 "ok"; }
    }
}
EOF
exec nginx -e "$DATA/error.log" -c "$DATA/nginx.conf"
