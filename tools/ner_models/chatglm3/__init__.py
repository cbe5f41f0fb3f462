"""chatglm3-6b and chatglm2-6b: from the original checkpoint to native ``glm``, without remote code."""
