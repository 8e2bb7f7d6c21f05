target "a" {
 args = { x = 1 == "1", y = null == null, z = 0.1 + 0.2, w = 100000000 * 10000 }
}
