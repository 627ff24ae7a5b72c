{{ config(alias='daily_revenue') }}

with

orders as (
    select * from {{ ref('stg_my_workflow__orders') }}
)

select
    cast(ordered_at as date) as day,
    country,
    product,
    count(*) as orders,
    sum(quantity * unit_price) as revenue
from orders
group by 1, 2, 3
