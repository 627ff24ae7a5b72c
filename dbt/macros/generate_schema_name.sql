{# The schema of each model: DATAFLOW's rule, by the model's folder. `dataflow dbt` and runs put
   its macros and tests where dbt finds them. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{- workflow_schema(custom_schema_name, node) -}}
{%- endmacro %}
