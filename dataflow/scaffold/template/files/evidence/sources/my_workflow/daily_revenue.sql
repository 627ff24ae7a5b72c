-- The data of the page: my_workflow.daily_revenue, built by dbt.
select
    day,
    country,
    product,
    orders,
    revenue,
from my_workflow.daily_revenue
