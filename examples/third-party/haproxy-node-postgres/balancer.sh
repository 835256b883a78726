#!/bin/sh
# HAProxy on $PORT in front of $API_URL.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"
API_ADDRESS=${API_URL#http://}
export API_ADDRESS
exec haproxy -db -f haproxy.cfg
