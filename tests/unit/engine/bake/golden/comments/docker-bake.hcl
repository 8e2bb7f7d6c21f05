# c
// d
/* e
 f */
target a {
  args = {
    # inner
    X = "1" // tail
    Y = "2"
  }
  tags = [
    "a", # one
    "b",
  ]
}
