{{ config(materialized='view') }}

with

source as (
    select * from {{ source('my_workflow', 'orders_clean') }}
)

select
    order_id,
    ordered_at,
    customer,
    country,
    product,
    cast(quantity as integer) as quantity,
    cast(unit_price as double) as unit_price
from source
