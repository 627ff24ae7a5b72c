-- What the page counts and draws: my_workflow.daily_revenue, as dbt made it.
select
    day,
    country,
    product,
    orders,
    revenue,
from my_workflow.daily_revenue
