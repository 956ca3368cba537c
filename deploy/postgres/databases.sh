#!/bin/sh
# Run by PostgreSQL's image when its volume is new: the orders' database and the owners of it and of
# Temporal's two, each with a password of its own.
set -eu
psql --username postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set orders="$(cat /run/secrets/orders_password)" \
    --set temporal="$(cat /run/secrets/temporal_password)" <<'SQL'
CREATE ROLE orders LOGIN PASSWORD :'orders';
CREATE DATABASE orders OWNER orders;
REVOKE CONNECT ON DATABASE orders FROM PUBLIC;
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'temporal';
SQL
