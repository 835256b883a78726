#!/bin/sh
# gunicorn on $PORT with $WORKERS forked workers that serve $APP_MODULE, over a database in $DATA.
set -eu
python=${PROPHECY_PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1
# Made before the workers are forked, or each of them would make it.
"$python" library.py
exec "$python" -m gunicorn --config gunicorn.conf.py "$APP_MODULE:application"
