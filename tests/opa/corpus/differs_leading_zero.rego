# differs: could not parse string as number
# there: "hour": 9
package differs.leading_zero

hour := to_number("09") + 0
