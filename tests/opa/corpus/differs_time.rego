# differs: could not find function time.parse_rfc3339_ns
# there: "since":
package differs.time

since := time.parse_rfc3339_ns(input.now.rfc3339) / 1000000000
