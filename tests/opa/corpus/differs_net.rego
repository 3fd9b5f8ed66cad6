# differs: could not find function net.cidr_contains
# there: "inside": true
package differs.net

inside := net.cidr_contains("10.0.0.0/8", "10.1.2.3")
