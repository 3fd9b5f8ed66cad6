# differs: could not parse string as number
# there: "value": {}
package differs.failing

allow if to_number("x") > 1
