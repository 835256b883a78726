#!/bin/sh
# nginx on $PORT in front of $APP_URL, with everything it writes under $DATA.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"
# As root, workers would become somebody who may not enter $DATA.
user=''
[ "$(id -u)" -ne 0 ] || user='user root;'
cat > "$DATA/nginx.conf" <<CONF
$user
worker_processes 2;
daemon off;
pid $DATA/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $DATA/body;
    proxy_temp_path $DATA/proxy;
    fastcgi_temp_path $DATA/fastcgi;
    uwsgi_temp_path $DATA/uwsgi;
    scgi_temp_path $DATA/scgi;
    server {
        listen 127.0.0.1:$PORT;
        location / {
            proxy_pass $APP_URL;
            proxy_http_version 1.1;
            proxy_set_header Host \$host;
            proxy_set_header Connection "";
        }
    }
}
CONF
exec nginx -p "$DATA" -c "$DATA/nginx.conf" -e stderr
