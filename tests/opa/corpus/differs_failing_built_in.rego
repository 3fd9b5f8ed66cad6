# differs: could not parse string as number
package differs.failing

allow if to_number("x") > 1
